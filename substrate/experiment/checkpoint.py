"""Checkpoints: two preallocated slots of a run file, and the packing of a state into bytes without pickle.

A checkpoint goes to the slot of the older one: its bytes, a flush, then its generation, length and CRC. Whatever
moment the process dies at, the newer of the two slots whose CRC holds is a whole checkpoint.
"""

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import h5py
import numpy as np

from substrate.errors import InputError, RunFileError

__all__ = ["Checkpoint", "copy_slots", "create_slots", "newest_checkpoint", "pack_state", "unpack_state", "write_slot"]

_SLOTS = ("slot0", "slot1")
_PREFIX = struct.Struct("<I")
_SEAL = struct.Struct("<QQ")


@final
@dataclass(frozen=True)
class Checkpoint:
    """One saved state: the packed `blob`, the `lengths` (rows) of every series at that moment, and its `generation`."""

    blob: bytes
    lengths: dict[str, int]
    generation: int


def create_slots(file: h5py.File, capacity_bytes: int, allocated_bytes: int | None = None) -> None:
    """Allocate `/checkpoints` with two empty slots of `capacity_bytes` each (before SWMR starts).

    `allocated_bytes` makes them smaller in a file that is no longer written; the capacity is still noted.
    """
    from substrate.experiment.layout import Constant, write_constants

    headers = {
        name: Constant(np.zeros(2, dtype), units=units, dims=("slot",))
        for name, dtype, units in (("generation", "u8", "1"), ("length", "u8", "byte"), ("crc32", "u4", "1"))
    }
    size = capacity_bytes if allocated_bytes is None else allocated_bytes
    # Zeros are written so that the disk space is there when a checkpoint needs it.
    slots = {name: Constant(np.zeros(max(1, size), "u1"), units="1", dims=("byte",)) for name in _SLOTS}
    capacity = Constant(np.int64(capacity_bytes), units="byte", description="size of a slot while the run is written")
    write_constants(file.require_group("checkpoints"), headers | slots | {"capacity": capacity})


def write_slot(file: h5py.File, blob: bytes, lengths: Mapping[str, int]) -> int:
    """Write a checkpoint over the older slot and return its generation.

    Raises `InputError` when it is larger than a slot.
    """
    group = file["checkpoints"]
    book = json.dumps(dict(lengths)).encode()
    payload = _PREFIX.pack(len(book)) + book + blob
    capacity = group[_SLOTS[0]].shape[0]
    if len(payload) > capacity:
        raise InputError(
            f"checkpoint_bytes: the state takes {len(payload)} bytes, but the run file was created for {capacity}; "
            "create it with a larger checkpoint_bytes"
        )
    newest = _newest_slot(group)
    slot = 0 if newest is None else 1 - newest[0]
    generation = 1 if newest is None else newest[1].generation + 1
    group[_SLOTS[slot]][: len(payload)] = np.frombuffer(payload, "u1")
    file.flush()
    group["length"][slot] = len(payload)
    group["crc32"][slot] = _seal(generation, payload)
    group["generation"][slot] = generation
    file.flush()
    return generation


def newest_checkpoint(file: h5py.File) -> Checkpoint | None:
    """The newest checkpoint of an open run file whose CRC holds, or None when there is none."""
    if "checkpoints" not in file:
        return None
    newest = _newest_slot(file["checkpoints"])
    return None if newest is None else newest[1]


def copy_slots(
    source: h5py.File, target: h5py.File, capacity_bytes: int | None = None, trim: bool = False
) -> Checkpoint | None:
    """Create the slots of `target` and put the newest valid checkpoint of `source` there, generation kept.

    `capacity_bytes` is the size of the new slots, by default that of the old ones; with `trim` they take no more room
    than the checkpoint (in a file that is no longer written). Returns the checkpoint that was copied, if any.
    """
    kept = newest_checkpoint(source)
    payload = b""
    if kept is not None:
        book = json.dumps(kept.lengths).encode()
        payload = _PREFIX.pack(len(book)) + book + kept.blob
    capacity = slot_capacity(source) if capacity_bytes is None else capacity_bytes
    if len(payload) > capacity:
        raise InputError(
            f"checkpoint_bytes: expected at least the {len(payload)} bytes of the checkpoint, got {capacity}"
        )
    create_slots(target, capacity, len(payload) if trim else None)
    if kept is not None:
        group = target["checkpoints"]
        group[_SLOTS[0]][: len(payload)] = np.frombuffer(payload, "u1")
        group["length"][0] = len(payload)
        group["crc32"][0] = _seal(kept.generation, payload)
        group["generation"][0] = kept.generation
    return kept


def slot_capacity(file: h5py.File) -> int:
    """The size in bytes of one checkpoint slot of an open run file while it is, or was, written."""
    return int(file["checkpoints/capacity"][()])


def _newest_slot(group: h5py.Group) -> tuple[int, Checkpoint] | None:
    generations, lengths, seals = (group[name][()] for name in ("generation", "length", "crc32"))
    for slot in sorted((0, 1), key=lambda k: -int(generations[k])):
        data = group[_SLOTS[slot]]
        generation, length = int(generations[slot]), int(lengths[slot])
        if generation == 0 or not _PREFIX.size <= length <= data.shape[0]:
            continue
        payload = data[:length].tobytes()
        if _seal(generation, payload) == int(seals[slot]):
            start = _PREFIX.size + _PREFIX.unpack_from(payload)[0]
            return slot, Checkpoint(payload[start:], json.loads(payload[_PREFIX.size : start]), generation)
    return None


def _seal(generation: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_SEAL.pack(generation, len(payload))))


def pack_state(state: Mapping[str, Any]) -> bytes:
    """Pack nested dicts, lists and tuples of arrays, numbers, strings, bytes and None, bit for bit.

    NumPy arrays and scalars keep dtype, shape and every bit; integers may have any size, so the state dictionary of a
    NumPy bit generator goes in as it is. Equal states give equal bytes. Raises `InputError` naming the key path of
    anything else.
    """
    arrays: list[np.ndarray[Any, Any]] = []
    tree = _encode(state, "state", arrays)
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(tree, allow_nan=False).encode(), "u1")
    np.savez(buffer, allow_pickle=False, tree=text, **{f"a{k}": array for k, array in enumerate(arrays)})
    return buffer.getvalue()


def unpack_state(blob: bytes) -> dict[str, Any]:
    """The state that `pack_state` packed. Raises `RunFileError` when `blob` is not one."""
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as archive:
            tree = json.loads(archive["tree"].tobytes())
            state = _decode(tree, archive)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise RunFileError(f"checkpoint: not a packed state ({error})") from error
    if not isinstance(state, dict):
        raise RunFileError("checkpoint: the packed state is not a dictionary")
    return state


def _encode(value: Any, path: str, arrays: list[np.ndarray[Any, Any]]) -> Any:
    if value is None or isinstance(value, bool | str) or type(value) is int:
        return value
    if type(value) is float:
        # Not every bit of a NaN survives as text; 8 bytes in hexadecimal do, and infinities with them.
        return value if np.isfinite(value) else {"float": struct.pack("<d", value).hex()}
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject:
            raise InputError(f"{path}: expected an array without Python objects, got dtype {value.dtype}")
        arrays.append(np.asarray(value))
        return {"array" if isinstance(value, np.ndarray) else "scalar": len(arrays) - 1}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"{path}: expected string keys, got {key!r}")
        return {"dict": {key: _encode(item, f"{path}.{key}", arrays) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{path}[{k}]", arrays) for k, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    raise InputError(f"{path}: expected arrays, numbers, strings, lists or dictionaries, got {type(value).__name__}")


def _decode(tree: Any, archive: Any) -> Any:
    if isinstance(tree, list):
        return [_decode(item, archive) for item in tree]
    if not isinstance(tree, dict):
        return tree
    ((tag, content),) = tree.items()
    match tag:
        case "dict":
            return {key: _decode(item, archive) for key, item in content.items()}
        case "tuple":
            return tuple(_decode(item, archive) for item in content)
        case "array":
            return archive[f"a{content}"]
        case "scalar":
            return archive[f"a{content}"][()]
        case "bytes":
            return bytes.fromhex(content)
        case "float":
            return struct.unpack("<d", bytes.fromhex(content))[0]
    raise ValueError(f"unknown tag {tag!r}")


def sync(path: str | os.PathLike[str]) -> None:
    """Have the operating system put the file or folder at `path` on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
