"""Convolution, 2x2 max pool and ReLU as one layer, several times faster than the three operators.

The idea. After a 2x2 max pool only one of four positions of the convolution carries a gradient, the
one that won its window, and after a ReLU only if it is positive. Libraries run the convolution's
two gradients over all positions all the same, three quarters of them zeros. Here the forward pass
keeps one byte per window, the winner: which of its four positions won, or that none did. The
backward pass goes through the live winners alone, each of which adds "its gradient times a row of
floats" to the weights' gradient (rows of the image under the kernel) and to the input's (rows of
the kernel). That is a quarter of the dense work, or less.

The layout. Tensors keep Paddle's order [batch, channel, row, column]. Inside, the forward pass puts
8 or 16 images side by side, one in each lane of a vector, so that no shape wastes lanes and windows
are compared lane by lane; the backward pass takes one image at a time, channels last, so that a row
under the kernel is contiguous.

The kernel is `conv_block.cpp`, and not Python: the same in Numba trains at some 1.4 times PyTorch's
speed by what is public of Numba, 1.8 times with a flag that is not, and adds 1.5 s to the start of
every process; this one trains at 2.3 times, and loads in no time
(`tests/benchmarks/train_speed.py`). It is compiled once per source, compiler and processor, by the
machine's own C++ compiler, into the user's cache, and called through ctypes. Nothing depends on it:
where it cannot be built, for what it does not cover (other types and devices, static graphs, mixed
precision) and for input that is not finite, Paddle's own operators run; an exported network always
consists of those. Both give the same numbers up to float32's rounding. Second derivatives are
refused: FAIRLOSS_KERNEL=stock in the environment has them.

This file holds the layer, and how its kernel is sought, built and checked; no network, no training.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import filelock
import paddle
import platformdirs
from paddle.autograd import PyLayer
from paddle.nn import functional as F

from experiments.kernels import tape
from experiments.machine import cpu_model

_log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_suffix(".cpp")
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-ffp-contract=fast", "-fPIC", "-shared")
_VERSION = 1  # of the interface; conv_block_version() must answer the same
_DONE = 0  # a call's status; any other, as of input that is not finite: run the stock operators
_LARGEST_IMAGE = 1 << 20  # floats, padding included: scratch memory holds 16 images and 16 outputs
_CHECKSUM_BYTES = 32  # SHA-256 of a built file, appended to it, where loaders do not look


class ConvBlock(paddle.nn.Conv2D):
    """relu(max_pool2d(conv2d(x))): stride 1, a square kernel, zero padding, 2x2 windows.

    x [batch, in_channels, height, width] -> [batch, out_channels, rows, columns], where rows =
    (height + 2 padding - kernel_size + 1) // 2 and columns likewise. `weight` [out, in, kernel,
    kernel] and `bias` [out] are those of `paddle.nn.Conv2D`: same first values, same use of the
    random stream.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding)
        self._sizes = (in_channels, out_channels, kernel_size, padding)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Apply the fused kernel where it covers `x`, else the stock operators."""
        on_cpu = paddle.in_dynamic_mode() and paddle.get_device() == "cpu"
        if on_cpu and _library() is not None and self._covers(x):
            if paddle.is_grad_enabled() and not (
                x.stop_gradient and self.weight.stop_gradient and self.bias.stop_gradient
            ):
                return _Fused.apply([tape.anchor(), x, self.weight, self.bias], self._sizes)
            return _run(x, self.weight, self.bias, self._sizes, for_backward=False)[0]
        return _stock(x, self.weight, self.bias, self._sizes[3])

    def _covers(self, x: paddle.Tensor) -> bool:
        """Whether the kernel is made for this input; Paddle raises errors about other input."""
        in_channels, out_channels, size, padding = self._sizes
        if len(x.shape) != 4:
            return False
        batch, channels, height, width = x.shape
        height, width = height + 2 * padding, width + 2 * padding
        pooled = ((height - size + 1) // 2) * ((width - size + 1) // 2)
        return (
            batch > 0
            and channels == in_channels
            and min(height, width) > size
            and max(channels * height * width, out_channels * pooled) <= _LARGEST_IMAGE
            and x.dtype == self.weight.dtype == self.bias.dtype == paddle.float32
            and x.place.is_cpu_place()
            and self.weight.place.is_cpu_place()
            and not paddle.is_autocast_enabled()
        )


def kernel(network: paddle.nn.Layer | None = None) -> str:
    """What conv blocks run: 'fused-avx512', 'fused-avx2', or 'stock' for Paddle's own operators.

    With a `network`, what it runs, which is 'stock' also where it has no conv block on the CPU.
    """
    library = _library() if network is None or _has_blocks(network) else None
    if library is None:
        return "stock"
    return "fused-avx512" if library.conv_block_lanes() == 16 else "fused-avx2"


def notices(network: paddle.nn.Layer) -> tuple[tuple[int, str], ...]:
    """Levels and sentences that this process logs of the kernel that `network` runs."""
    if not _has_blocks(network):
        return ()
    _library()
    return tuple(_notices)


def _has_blocks(network: paddle.nn.Layer) -> bool:
    return any(
        isinstance(layer, ConvBlock) and layer.weight.place.is_cpu_place()
        for layer in network.sublayers()
    )


def _stock(
    x: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor, padding: int
) -> paddle.Tensor:
    """The block by Paddle's own operators; bias and ReLU after the pool have less work."""
    pooled = F.max_pool2d(F.conv2d(x, weight, padding=padding), 2)
    return F.relu(pooled + bias.reshape([1, -1, 1, 1]))


def _run(
    x: paddle.Tensor,
    weight: paddle.Tensor,
    bias: paddle.Tensor,
    sizes: tuple[int, ...],
    *,
    for_backward: bool,
) -> tuple[paddle.Tensor, paddle.Tensor | None]:
    """The output, and `for_backward` the winners; None where the stock operators had to run."""
    library = _library()
    in_channels, out_channels, size, padding = sizes
    batch, _, height, width = x.shape
    rows, columns = (height + 2 * padding - size + 1) // 2, (width + 2 * padding - size + 1) // 2
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    y = tape.empty([batch, out_channels, rows, columns])
    winner = None
    if for_backward:
        lanes = library.conv_block_lanes()
        winner = tape.empty([-(-batch // lanes), out_channels, rows, columns, lanes], paddle.uint8)
    status = library.conv_block_forward(
        x.data_ptr(),
        weight.data_ptr(),
        bias.data_ptr(),
        y.data_ptr(),
        None if winner is None else winner.data_ptr(),
        *(batch, in_channels, height, width, out_channels, size, padding),
    )
    return (y, winner) if status == _DONE else (_stock(x, weight, bias, padding), None)


class _Fused(PyLayer):
    """The fused layer on Paddle's tape."""

    @staticmethod
    def forward(ctx, tensors, sizes):
        _, x, weight, bias = tensors
        y, ctx.winner = _run(x, weight, bias, sizes, for_backward=True)
        ctx.save_for_backward(*tensors)
        ctx.versions = x.inplace_version, weight.inplace_version
        ctx.learns = [not tensor.stop_gradient for tensor in (x, weight, bias)]
        ctx.sizes = sizes
        return y

    @staticmethod
    def backward(ctx, dy):
        _, *inputs = ctx.saved_tensor()
        x, weight, bias = inputs
        if paddle.is_grad_enabled():
            raise RuntimeError(
                "a ConvBlock's fused kernel has no second derivative (create_graph=True); set "
                "FAIRLOSS_KERNEL=stock in the environment to run Paddle's own operators"
            )
        if ctx.versions != (x.inplace_version, weight.inplace_version):
            raise RuntimeError(
                "the input or the weight of a ConvBlock was changed in place between the forward "
                "and the backward pass, so the gradient cannot be computed; change a copy, or "
                "call backward() first"
            )
        gradients = None
        if ctx.winner is not None:
            gradients = _run_backward(
                x, weight, bias, ctx.winner, dy, ctx.sizes, of_input=ctx.learns[0]
            )
        if gradients is None:
            gradients = _stock_backward(inputs, dy, ctx.sizes[3])
        pairs = zip(gradients, ctx.learns, strict=True)
        return ([None, *(gradient if learns else None for gradient, learns in pairs)],)


def _run_backward(x, weight, bias, winner, dy, sizes, *, of_input):
    """Gradients of x, weight and bias; None where the stock operators have to run."""
    in_channels, out_channels, size, padding = sizes
    batch, _, height, width = x.shape
    dx = tape.empty(x.shape) if of_input else None
    dweight, dbias = tape.empty(weight.shape), tape.empty(bias.shape)
    x, weight, dy = x.contiguous(), weight.contiguous(), dy.contiguous()
    status = _library().conv_block_backward(
        x.data_ptr(),
        weight.data_ptr(),
        winner.data_ptr(),
        dy.data_ptr(),
        None if dx is None else dx.data_ptr(),
        dweight.data_ptr(),
        dbias.data_ptr(),
        *(batch, in_channels, height, width, out_channels, size, padding),
    )
    return (dx, dweight, dbias) if status == _DONE else None


def _stock_backward(inputs, dy, padding):
    """The gradients that the stock operators give, NaN and inf included."""
    copies = [tensor.detach() for tensor in inputs]
    for copy in copies:
        copy.stop_gradient = False
    with paddle.enable_grad():
        y = _stock(copies[0], copies[1], copies[2], padding)
    return paddle.grad(y, copies, dy)


_notices: list[tuple[int, str]] = []


def _notice(level: int, text: str) -> None:
    _log.log(level, "%s", text)
    _notices.append((level, text))


@functools.cache
def _library() -> Any:
    """The loaded kernel, or None where stock operators run; the log says once which, and why."""
    _notices.clear()
    choice = os.environ.get("FAIRLOSS_KERNEL", "")
    if choice == "stock":
        _notice(
            logging.INFO, "conv blocks run Paddle's own operators, as FAIRLOSS_KERNEL=stock asks"
        )
        return None
    if choice:
        text = f"FAIRLOSS_KERNEL is {choice!r}; the only value it can have is 'stock'"
        _notice(logging.WARNING, f"{text}, so it is ignored")
    try:
        library = _load(_built())
    except Exception as error:  # whatever it is, it must not stop a training that can do without
        _notice(
            logging.WARNING,
            "conv blocks run in oneDNN or Paddle's own operators, slower than the fused kernel: "
            f"{error} (FAIRLOSS_CACHE=DIRECTORY chooses where it is built and loaded from, "
            "FAIRLOSS_KERNEL=stock ends the warning)",
        )
        return None
    lanes = library.conv_block_lanes()
    _notice(logging.INFO, f"conv blocks run the fused kernel, {lanes} images per vector")
    return library


def _cache() -> Path:
    """The directory of built kernels, in FAIRLOSS_CACHE or the user's cache directory."""
    chosen = os.environ.get("FAIRLOSS_CACHE") or platformdirs.user_cache_dir("fairloss")
    return Path(chosen).expanduser() / "kernels"


def _built() -> Path:
    """The kernel's file, by the first of the compilers that can build it."""
    machine, system = platform.machine(), platform.system()
    if machine.lower() not in ("x86_64", "amd64") or system not in ("Linux", "Darwin"):
        raise OSError(f"it is written for x86-64 Linux and macOS, not for {machine} {system}")
    there = {os.path.realpath(path): path for path in map(shutil.which, _COMPILERS) if path}
    if not there:
        raise OSError(
            f"no C++ compiler ({', '.join(_COMPILERS)}) is on the PATH. Install one, for example "
            "with `apt-get install g++`, and the next run builds the kernel in some seconds"
        )
    failures = []
    for compiler in there.values():
        try:
            return _built_by(compiler)
        except (OSError, subprocess.SubprocessError) as error:
            failures.append(str(error))
    raise OSError("; ".join(failures))


def _built_by(compiler: str) -> Path:
    """The kernel's file for this source, compiler and processor, built where it has to be."""
    version = subprocess.run(
        [compiler, "--version"], capture_output=True, timeout=60, check=True
    ).stdout
    parts = [_SOURCE.read_bytes(), version, " ".join(_FLAGS).encode(), _processor().encode()]
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    path = _cache() / f"conv_block-{digest[:20]}.so"
    if not _intact(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{path}.lock", timeout=600):  # one of several processes builds
            if not _intact(path):
                _build(compiler, path)
    return path


def _processor() -> str:
    """The processor's model and its features, of which a virtual machine may have fewer."""
    if platform.system() == "Darwin":
        names = ("brand_string", "features", "leaf7_features")
        command = ["sysctl", "-n", *(f"machdep.cpu.{name}" for name in names)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=True
        ).stdout
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = [line for line in lines if line.startswith("flags")]
    if not flags:  # a file that was built for another one would kill the process
        raise OSError("the system does not tell what the processor can do")
    return f"{cpu_model()} {flags[0]}"


def _build(compiler: str, path: Path) -> None:
    """Compile aside, append the checksum, and move into place: nobody ever sees half a file."""
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:
        built = Path(aside) / path.name
        command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(built)]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=300, check=False
        )
        if done.returncode:
            errors = (
                [line for line in done.stderr.splitlines() if "error" in line]
                or done.stderr.splitlines()
                or [""]
            )
            raise OSError(f"{compiler} could not compile it: {errors[0].strip()}")
        code = built.read_bytes()
        built.write_bytes(code + hashlib.sha256(code).digest())
        built.replace(path)


def _intact(path: Path) -> bool:
    """Whether a built file is there and whole; loading a damaged one could kill the process."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-_CHECKSUM_BYTES]).digest() == content[-_CHECKSUM_BYTES:]


def _load(path: Path) -> ctypes.CDLL:
    """Load a built kernel.

    It is refused unless it computes a small case exactly as worked out by hand.
    """
    library = ctypes.CDLL(str(path))
    sizes = [ctypes.c_int] * 7
    library.conv_block_forward.argtypes = [*[ctypes.c_void_p] * 5, *sizes]
    library.conv_block_backward.argtypes = [*[ctypes.c_void_p] * 7, *sizes]
    if library.conv_block_version() != _VERSION:
        raise OSError(
            f"{path} has interface {library.conv_block_version()}, expected {_VERSION}; delete it"
        )
    # one image, 0 to 15 row by row, times 2 plus 1: 5, 7, 13 and 15 win, the last pixel of each
    # window
    image, weight, bias = (ctypes.c_float * 16)(*range(16)), ctypes.c_float(2), ctypes.c_float(1)
    y, winner, dy = (
        (ctypes.c_float * 4)(),
        (ctypes.c_uint8 * 64)(),
        (ctypes.c_float * 4)(1, 2, 3, 4),
    )
    dx, dweight, dbias = (ctypes.c_float * 16)(), ctypes.c_float(), ctypes.c_float()
    one = [ctypes.byref(value) for value in (weight, bias, dweight, dbias)]
    shape = (1, 1, 4, 4, 1, 1, 0)
    status = library.conv_block_forward(image, one[0], one[1], y, winner, *shape)
    status |= library.conv_block_backward(image, one[0], winner, dy, dx, one[2], one[3], *shape)
    results = [status, *y, *dx, dweight.value, dbias.value]
    if results != [0, 11, 15, 27, 31, 0, 0, 0, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 6, 0, 8, 118, 10]:
        raise OSError(f"{path} does not compute what it should; another compiler may do better")
    return library
