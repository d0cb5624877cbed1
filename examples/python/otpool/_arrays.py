"""Arrays of any library as NumPy arrays that the extension module takes: in C order, of float32 or float64."""

from __future__ import annotations

from typing import Any, Optional, Union

import numpy as np

from .errors import InvalidArgument

# NumPy arrays, and what has DLPack or the buffer protocol, such as tensors of PyTorch; or nested sequences.
Array = Any
Floats = Union[float, Array]

_EXACT_IN_FLOAT32 = (np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.float16)


def as_numpy(array: Array, name: str) -> np.ndarray:
    """The array as one of NumPy, without a copy if it has DLPack or the buffer protocol."""
    if isinstance(array, np.ndarray):
        return array
    if getattr(array, "requires_grad", False):
        raise InvalidArgument(f"{name} is a tensor that requires a gradient; allowed: others, such as {name}.detach()")
    device = getattr(getattr(array, "device", None), "type", "cpu")
    if device != "cpu":
        raise InvalidArgument(
            f"{name} is on the device {device}; allowed: the processor's memory, such as {name}.cpu()"
        )
    if hasattr(array, "__dlpack__"):
        try:
            return np.from_dlpack(array)
        except (AttributeError, BufferError, RuntimeError, TypeError):  # an old NumPy, or a type that DLPack lacks
            pass
    return np.asarray(array)


def rows(array: Array, name: str, dtype: Optional[np.dtype] = None) -> np.ndarray:
    """A matrix (N, D) in C order, of float32 or float64. Others are converted: to `dtype`, or float32 if that holds all numbers of
    the type, or float64."""
    given = as_numpy(array, name)
    if given.ndim != 2:
        raise InvalidArgument(f"shape of {name} is {given.shape}; allowed: two dimensions")
    if not (np.issubdtype(given.dtype, np.number) or given.dtype == np.bool_) or np.iscomplexobj(given):
        raise InvalidArgument(f"type of {name} is {given.dtype}; allowed: real numbers")
    if dtype is None and given.dtype not in (np.float32, np.float64):
        dtype = np.dtype(np.float32 if given.dtype.type in _EXACT_IN_FLOAT32 else np.float64)
    return np.ascontiguousarray(given, dtype=dtype)


def numbers(array: Array, name: str, dtype: Any = np.float64) -> np.ndarray:
    """A vector of `dtype`."""
    given = as_numpy(array, name)
    if given.ndim != 1:
        raise InvalidArgument(f"shape of {name} is {given.shape}; allowed: one dimension")
    return np.ascontiguousarray(given, dtype=dtype)


def offsets(ptr: Array) -> np.ndarray:
    """Where bags begin: B + 1 integers."""
    given = as_numpy(ptr, "ptr")
    if given.ndim != 1 or given.size == 0 or not np.issubdtype(given.dtype, np.integer):
        raise InvalidArgument(
            f"ptr is an array of {given.dtype} of shape {given.shape}; allowed: B + 1 integers for B bags"
        )
    return np.ascontiguousarray(given, dtype=np.int64)
