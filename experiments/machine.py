"""What has to be set before Paddle loads, and what the machine is: threads, fast paths, device.

Call `prepare` before anything imports Paddle; it imports nothing heavy itself. Numbers depend on
nothing in here except through float32 rounding.
"""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import gc
import importlib.metadata
import os
import platform
import signal
import sys
import warnings
from pathlib import Path

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def cpu_model() -> str:
    """The processor's name, such as 'AMD EPYC 7B13', or else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux: the name is only for the record
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare(threads: int = 1) -> None:
    """Set what Paddle reads when it loads: the number of threads, and MKL's fast path on AMD.

    MKL falls back to code without AVX2 on processors that are not Intel's; MKL_DEBUG_CPU_TYPE=5
    asks for the AVX2 code. A value that the user has exported wins.
    """
    if "AMD" in cpu_model():
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(threads)
    os.environ.setdefault("GLOG_minloglevel", "2")  # Paddle's C++ logs much at each export
    # At import about a tool that is not used, and at every step of batch normalization.
    for message in ("No ccache found", "When training, we now always track"):
        warnings.filterwarnings("ignore", message=message, category=UserWarning)
    if "paddle" in sys.modules:  # as in a forked process
        sys.modules["paddle"].base.core.set_num_threads(threads)


def load_paddle(threads: int = 1) -> None:
    """`prepare`, then load Paddle, and `take_signals` back from it."""
    prepare(threads)
    keep_memory()
    import paddle

    paddle.disable_signal_handler()
    if faulthandler.is_enabled():  # Paddle has put its own handlers in the place of these
        faulthandler.disable()
        show_crashes()
    take_signals()


def show_crashes() -> None:
    """Where a signal ends this process, SIGALRM included, print Python's traceback to stderr."""
    faulthandler.enable(2, all_threads=False)
    if hasattr(signal, "SIGALRM"):
        faulthandler.register(signal.SIGALRM, 2, all_threads=False, chain=True)


def take_signals() -> None:
    """From here on SIGTERM ends this process as Ctrl-C does, and `interrupted` knows of both."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def loaded() -> None:
    """Enable Python's garbage collector again after the imports, for new objects only.

    None of the 280,000 objects of Paddle and MLflow is garbage. Searching them takes a fifth of the
    time of their import (`tests/benchmarks/startup.py`: the first step follows after 2.5 s instead
    of 3.5 s).
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def interrupted() -> bool:
    """Whether a signal told this process to stop; a library may have raised another error."""
    return _interrupted


_interrupted = False


def _interrupt(number: int, frame: object) -> None:
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt


NO_GPU = "device=gpu: expected a GPU and a Paddle for GPUs, got none; use device=cpu or device=auto"


def paddle_package() -> importlib.metadata.Distribution:
    """The package that Paddle comes from: the one for GPUs has a name of its own."""
    try:
        return importlib.metadata.distribution("paddlepaddle-gpu")
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.distribution("paddlepaddle")


def built_for_cpu() -> bool:
    """Whether Paddle is certainly built without GPUs, found out without loading it."""
    try:
        return paddle_package().name == "paddlepaddle"
    except importlib.metadata.PackageNotFoundError:  # built by its user, perhaps
        return False


@functools.cache
def may_fork() -> bool:
    """Whether a process with Paddle may be forked: not on macOS, and not with a GPU."""
    return sys.platform.startswith("linux") and built_for_cpu()


@functools.cache  # called for every run of a grid
def device(requested: str, threads: int) -> str:
    """'cpu' or 'gpu' for `requested`: 'auto' (a GPU where Paddle sees one), 'cpu' or 'gpu'.

    Paddle is loaded, with `threads`, only where it may see a GPU.

    Raises:
        ValueError: A GPU is asked for, and there is none.
    """
    if requested == "cpu" or (requested == "auto" and built_for_cpu()):
        return "cpu"
    prepare(threads)
    import paddle

    available = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if requested == "gpu" and not available:
        raise ValueError(NO_GPU)
    return "gpu" if available else "cpu"


def keep_memory() -> bool:
    """Let glibc keep freed memory for the next step; whether it takes that.

    Otherwise it returns memory to the system after each training step, and the next one pays for
    hundreds of page faults. The process stays at its largest size instead.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD in malloc.h
    never, largest = 2**31 - 1, 32 * 2**20  # bytes; glibc takes at most 32 MiB for mapping
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(trim_threshold, never) and libc.mallopt(mmap_threshold, largest))
