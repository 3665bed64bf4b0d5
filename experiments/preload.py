"""What the processes of a sweep share: imported once, by the server that they are forked from; never a module of a user's.

What a run imports only when it needs it stands here, too, so that not every run waits for it.
"""

import gc
import logging
import os
import signal

from experiments import machine

gc.disable()  # until `machine.loaded`
logging.disable(
    logging.WARNING
)  # what a user has to know of it, a check tells the launching process
machine.load_paddle(int(os.environ.get("OMP_NUM_THREADS", "1")))
# A SIGTERM to all at once: the server that the processes are forked from has to tell how they end.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

import alembic.command  # noqa: E402, F401
import mlflow.models.model  # noqa: E402
import mlflow.paddle  # noqa: E402
import mlflow.pyfunc.loaders  # noqa: E402
import mlflow.store.tracking.sqlalchemy_store  # noqa: E402
import mlflow.store.tracking.sqlalchemy_workspace_store  # noqa: E402
import mlflow.tracing.export  # noqa: E402
import mlflow.tracing.processor.base_mlflow  # noqa: E402
import mlflow.tracing.provider  # noqa: E402, F401
import scipy.optimize  # noqa: E402, F401
import sqlalchemy.dialects.sqlite  # noqa: E402, F401
from sqlalchemy.orm import configure_mappers  # noqa: E402

from experiments import (  # noqa: E402, F401
    cell,
    checks,
    conv_block,
    losses,
    optimizers,
    schedulers,
)
from experiments.tracking import circumstances  # noqa: E402

configure_mappers()
circumstances.environment()
circumstances.git_state()
machine.loaded()

conv_block.kernel()
logging.disable(logging.NOTSET)
