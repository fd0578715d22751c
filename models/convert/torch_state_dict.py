"""Read a state dict written by `torch.save` before torch 1.6, without torch.

Such a file is a row of pickles: magic number, protocol version, system
information, the dict, the list of storage keys. After them, for each key in
turn, stands the number of elements (little-endian i64) and the raw data.

Only the few names that a state dict of plain tensors refers to are resolved;
everything else is refused, so an untrusted file cannot run code.
"""

import collections
import io
import pickle
import struct
from typing import NamedTuple

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C

STORAGE_TYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "IntStorage": np.dtype("<i4"),
    "LongStorage": np.dtype("<i8"),
}


class Storage(NamedTuple):
    """A reference to one of the data blocks at the end of the file."""

    key: str
    dtype: np.dtype


class TensorView(NamedTuple):
    """A strided view into a storage; offset, size and stride count elements."""

    storage: Storage
    offset: int
    size: tuple
    stride: tuple


def _rebuild_tensor_v2(storage, offset, size, stride, *_unused):
    return TensorView(storage, offset, tuple(size), tuple(stride))


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor_v2
        if module == "torch" and name in STORAGE_TYPES:
            return STORAGE_TYPES[name]
        raise pickle.UnpicklingError(f"refused to load {module}.{name}")

    def persistent_load(self, pid):
        kind, dtype, key = pid[:3]
        if kind != "storage":
            raise pickle.UnpicklingError(f"unknown persistent object {kind!r}")
        return Storage(key, dtype)


def load(data):
    """Return `{name: array}` for the bytes of a legacy torch file."""
    stream = io.BytesIO(data)
    if _Unpickler(stream).load() != MAGIC:
        raise ValueError("not a legacy torch file")
    _Unpickler(stream).load()  # protocol version
    _Unpickler(stream).load()  # sizes and byte order of the writing system
    views = _Unpickler(stream).load()
    keys = _Unpickler(stream).load()

    dtypes = {view.storage.key: view.storage.dtype for view in views.values()}
    blocks = {}
    for key in keys:
        (count,) = struct.unpack("<q", stream.read(8))
        dtype = dtypes[key]
        blocks[key] = np.frombuffer(stream.read(count * dtype.itemsize), dtype)

    arrays = {}
    for name, view in views.items():
        block = blocks[view.storage.key][view.offset :]
        strides = [s * block.itemsize for s in view.stride]
        arrays[name] = np.lib.stride_tricks.as_strided(block, view.size, strides).copy()
    return arrays
