"""What the server imports from which the processes of a sweep are forked; no module of a user's."""

import gc
import logging
import os
import signal

from experiments import machine

gc.disable()  # until `machine.loaded`
logging.disable(logging.WARNING)  # a check sends what users have to know to the launching process
machine.load_paddle(int(os.environ.get("OMP_NUM_THREADS", "1")))
# A SIGTERM to all at once: the server that the processes are forked from has to tell how they end.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

import hydra._internal.core_plugins.basic_launcher  # noqa: E402
import hydra._internal.core_plugins.basic_sweeper  # noqa: E402
import hydra._internal.core_plugins.file_config_source  # noqa: E402
import hydra._internal.core_plugins.importlib_resources_config_source  # noqa: E402
import hydra._internal.core_plugins.structured_config_source  # noqa: E402, F401
import scipy.optimize  # noqa: E402, F401

from experiments import execution, losses, optimizers, option_checks, schedulers, source_digest  # noqa: E402, F401
from experiments.kernels import conv_block  # noqa: E402
from experiments.tracking import provenance, worker_init  # noqa: E402, F401

provenance.environment()
provenance.git_state()
# What is parsed is kept by its content; files that are edited later are parsed again.
source_digest.of_options({"loss": {"_target_": "experiments.losses.ce"}})
source_digest.refresh()
machine.loaded()

conv_block.kernel()
logging.disable(logging.NOTSET)
