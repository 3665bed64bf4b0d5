"""oneDNN, the library of layers for CPUs that Paddle's package contains, through ctypes.

Paddle calls it in exported networks only; here `chain.py` calls its C interface (version 3) for
training. This file holds what a caller needs of that interface: descriptors of arrays, primitives
(one operation for one shape), and programs, which are sequences of primitives. Nothing in here
knows layers or tensors. Arrays are float32.

A primitive is chosen by shapes, processor and number of threads, never by timing, so the same
command gives the same bits on one machine. An implementation named `ref` is refused: it is a
hundred times slower than Paddle's own operators.

Source: https://uxlfoundation.github.io/oneDNN/v3.6/
"""

from __future__ import annotations

import ctypes
import functools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import paddle

MAJOR = 3  # the version of the interface
SLOW = r"(^|[:_])ref"  # names of implementations that are refused
ALIGNMENT = 64  # bytes: a line of the cache
ITEM = 4  # bytes of a float32
FORWARD_TRAINING, FORWARD_INFERENCE, BACKWARD = 64, 96, 128
CONVOLUTION_DIRECT = 1
RELU, TANH = 0x100, 0x101  # whose gradient is computed from their output
POOLING_MAX, POOLING_AVERAGE_ALL, POOLING_AVERAGE = 0x1FF, 0x2FF, 0x3FF
USE_GLOBAL_STATISTICS, USE_SCALE, USE_SHIFT, FUSE_RELU = 1, 2, 4, 8

# Arguments of a primitive, by number; `DIFF` of one is its gradient.
SRC, DST, WEIGHTS, BIAS = 1, 17, 33, 41
MEAN, VARIANCE, SCALE, SHIFT, WORKSPACE = 49, 50, 51, 52, 64
DIFF_SRC, DIFF_DST, DIFF_WEIGHTS, DIFF_BIAS, DIFF_SCALE, DIFF_SHIFT = 129, 145, 161, 169, 255, 256

# What a primitive can be asked for: the descriptors that it has chosen.
CHOSEN = {WEIGHTS: 131, DIFF_WEIGHTS: 132, WORKSPACE: 135}

_FLOAT32, _ANY_FORMAT, _CPU, _IN_ORDER, _NAME_OF_IMPLEMENTATION = 3, 1, 1, 1, 8
_Dims = ctypes.c_int64 * 12


class Unsupported(RuntimeError):
    """OneDNN is absent, of another version, or has no fast implementation of an operation."""


class _Version(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("major", "minor", "patch")]


class _Argument(ctypes.Structure):
    _fields_ = [("number", ctypes.c_int), ("memory", ctypes.c_void_p)]


class _Library:
    """The loaded library, with its engine (the CPU) and its stream (in order)."""

    def __init__(self) -> None:
        path = Path(paddle.__file__).parent / "libs" / "libdnnl.so.3"
        try:
            self.functions = ctypes.CDLL(str(path))
        except OSError as error:
            raise Unsupported(f"this Paddle has no oneDNN: {error}") from error
        self.functions.dnnl_version.restype = ctypes.POINTER(_Version)
        version = self.functions.dnnl_version().contents
        self.version = f"{version.major}.{version.minor}.{version.patch}"
        if version.major != MAJOR:
            raise Unsupported(f"expected oneDNN {MAJOR}, got {self.version}")
        self.functions.dnnl_primitive_desc_query_md.restype = ctypes.c_void_p
        self.functions.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
        self.engine, self.stream = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("engine_create", ctypes.byref(self.engine), _CPU, ctypes.c_size_t(0))
        self.call("stream_create", ctypes.byref(self.stream), self.engine, _IN_ORDER)
        self.set_address = self.functions.dnnl_memory_set_data_handle
        self.set_address.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self.execute = self.functions.dnnl_primitive_execute
        self.execute.argtypes = [*[ctypes.c_void_p] * 2, ctypes.c_int, ctypes.c_void_p]

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function by its name without `dnnl_`; handles and floats as ctypes objects."""
        if status := self.functions[f"dnnl_{name}"](*arguments):
            raise Unsupported(f"dnnl_{name} failed with status {status}")


@functools.cache
def library() -> _Library:
    """The loaded library.

    Raises:
        Unsupported: It is absent or of another version.
    """
    return _Library()


class _Owned:
    """A handle of the library that is destroyed together with this object."""

    def __init__(self, kind: str, function: str, *arguments: Any) -> None:
        self.handle = ctypes.c_void_p()
        self._destroy = library().functions[f"dnnl_{kind}_destroy"]
        library().call(function, ctypes.byref(self.handle), *arguments)

    def __del__(self) -> None:
        if self.handle:
            self._destroy(self.handle)


class Array:
    """How an array lies in memory: its dimensions, and what a step along each skips, in floats."""

    def __init__(self, dims: Sequence[int], strides: Sequence[int] | None) -> None:
        self.dims = tuple(dims)
        size, values = len(self.dims), _Dims(*self.dims)
        if strides is None:
            form = [_FLOAT32, _ANY_FORMAT]
            self._owned = _Owned("memory_desc", "memory_desc_create_with_tag", size, values, *form)
        else:
            last = [_FLOAT32, _Dims(*strides)]
            self._owned = _Owned(
                "memory_desc", "memory_desc_create_with_strides", size, values, *last
            )
        self.handle = self._owned.handle

    @property
    def bytes(self) -> int:
        """The room that the array takes."""
        return int(library().functions.dnnl_memory_desc_get_size(self.handle))

    def like(self, other: Array) -> bool:
        """Whether both have the same dimensions and lie alike."""
        return bool(library().functions.dnnl_memory_desc_equal(self.handle, other.handle))


def plain(*dims: int) -> Array:
    """Row by row, as Paddle's tensors lie."""
    return Array(dims, [math.prod(dims[i + 1 :]) for i in range(len(dims))])


def channels_last(batch: int, channels: int, height: int, width: int) -> Array:
    """[batch, channels, height, width] where the channels of a pixel lie side by side."""
    strides = [height * width * channels, 1, width * channels, channels]
    return Array([batch, channels, height, width], strides)


def any_format(*dims: int) -> Array:
    """A form that a primitive may choose, see `Primitive.chosen`."""
    return Array(dims, None)


class _Chosen(Array):
    """A descriptor that belongs to a primitive."""

    def __init__(self, primitive: Primitive, handle: int) -> None:
        self._primitive, self.handle = primitive, ctypes.c_void_p(handle)


class Primitive:
    """One operation for one shape.

    Args:
        kind: The name of its function, such as "convolution_forward".
        arguments: Those of `dnnl_KIND_primitive_desc_create` behind the engine, without the last,
            the attributes: arrays, primitives (the forward one, for a backward one), numbers,
            and sequences of dimensions.
        adds: Whether it adds its result to what the target holds.

    Raises:
        Unsupported: There is none, or only a slow one.
    """

    def __init__(self, kind: str, *arguments: Any, adds: bool = False) -> None:
        engine = library().engine
        passed = [_passed(argument) for argument in arguments]
        passed.insert(0, engine)
        if kind == "reorder":
            passed = [passed[1], engine, passed[2], engine]
        attributes = _addition() if adds else None
        self.description = _Owned(
            "primitive_desc",
            f"{kind}_primitive_desc_create",
            *(*passed, attributes.handle if attributes else ctypes.c_void_p()),
        )
        name = ctypes.c_char_p()
        query = [self.description.handle, _NAME_OF_IMPLEMENTATION, 0, ctypes.byref(name)]
        library().call("primitive_desc_query", *query)
        self.implementation = (name.value or b"").decode()
        if re.search(SLOW, self.implementation):
            raise Unsupported(f"oneDNN has no fast {kind} here, only {self.implementation}")
        self._owned = _Owned("primitive", "primitive_create", self.description.handle)
        self.handle = self._owned.handle

    def chosen(self, argument: int) -> Array:
        """How the primitive wants an argument to lie."""
        query = library().functions.dnnl_primitive_desc_query_md
        return _Chosen(self, query(self.description.handle, CHOSEN[argument], 0))


def _addition() -> _Owned:
    """The attributes of a primitive that adds its result to the target."""
    attributes = _Owned("primitive_attr", "primitive_attr_create")
    after = _Owned("post_ops", "post_ops_create")
    scale, zero_point, same_type = ctypes.c_float(1), 0, 0
    library().call("post_ops_append_sum", after.handle, scale, zero_point, same_type)
    library().call("primitive_attr_set_post_ops", attributes.handle, after.handle)
    return attributes


def _passed(argument: Any) -> Any:
    """An argument as ctypes takes it."""
    if isinstance(argument, Array):
        return argument.handle
    if isinstance(argument, Primitive):
        return argument.description.handle
    if isinstance(argument, float):
        return ctypes.c_float(argument)
    if isinstance(argument, (list, tuple)):
        return _Dims(*argument)
    return ctypes.c_void_p() if argument is None else argument


class Memory:
    """An array at `offset` (bytes) of `place`, whose address each execution states."""

    def __init__(self, array: Array, place: str, offset: int = 0) -> None:
        self.array, self.place, self.offset = array, place, offset
        engine = library().engine
        self._owned = _Owned("memory", "memory_create", array.handle, engine, ctypes.c_void_p())
        self.handle = self._owned.handle
        self._address = 0

    def move(self, address: int) -> None:
        """Let the array lie at an address."""
        if address != self._address:
            library().set_address(self.handle, address)
            self._address = address


class Program:
    """Primitives that are executed one after the other."""

    def __init__(self) -> None:
        self._memories: dict[int, Memory] = {}
        self._calls: list[tuple[Any, int, Any]] = []
        self._primitives: list[Primitive] = []

    def add(self, primitive: Primitive, arguments: Mapping[int, Memory]) -> None:
        """Append `primitive` with its arguments by number."""
        pairs = [_Argument(number, memory.handle.value) for number, memory in arguments.items()]
        self._calls.append((primitive.handle, len(pairs), (_Argument * len(pairs))(*pairs)))
        self._memories |= {id(memory): memory for memory in arguments.values()}
        self._primitives.append(primitive)

    def execute(self, addresses: Mapping[str, int]) -> None:
        """Execute all; `addresses` has one for each place, of memory that outlives the call."""
        lib = library()
        for memory in self._memories.values():
            memory.move(addresses[memory.place] + memory.offset)
        for handle, count, arguments in self._calls:
            if status := lib.execute(handle, lib.stream, count, arguments):
                raise RuntimeError(f"dnnl_primitive_execute failed with status {status}")
