"""What a sweep's worker processes share: imported once, by the server that they are forked from."""

import gc
import logging
import os
import signal

from experiments import machine

gc.disable()  # until `machine.loaded`
machine.load_paddle(int(os.environ.get("OMP_NUM_THREADS", "1")))
# A SIGTERM to all at once: the server that the workers are forked from has to tell how they end.
signal.signal(signal.SIGTERM, signal.SIG_IGN)

from experiments import cell, conv_block  # noqa: E402, F401
from experiments.tracking import circumstances  # noqa: E402

circumstances.environment()
machine.loaded()

logging.disable(logging.WARNING)  # the launching process says which kernel runs, where one does
conv_block.kernel()
logging.disable(logging.NOTSET)
