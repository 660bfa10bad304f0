"""The few calls of libbpf.so.1 that tidegate makes, each of which raises where it fails."""

import ctypes
import ctypes.util
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIBRARY = "libbpf.so.1"
_POINTER, _INT, _TEXT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
_CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "bpf_object__open_file": (_POINTER, (_TEXT, _POINTER)),
    "bpf_object__load": (_INT, (_POINTER,)),
    "bpf_object__close": (None, (_POINTER,)),
    "bpf_object__find_program_by_name": (_POINTER, (_POINTER, _TEXT)),
    "bpf_program__fd": (_INT, (_POINTER,)),
    "bpf_object__find_map_by_name": (_POINTER, (_POINTER, _TEXT)),
    "bpf_map__fd": (_INT, (_POINTER,)),
    "bpf_map__set_pin_path": (_INT, (_POINTER, _TEXT)),
    "bpf_map__set_initial_value": (_INT, (_POINTER, _POINTER, _SIZE)),
    "bpf_link_create": (_INT, (_INT, _INT, _INT, _POINTER)),
    "bpf_link_update": (_INT, (_INT, _INT, _POINTER)),
    "bpf_obj_pin": (_INT, (_INT, _TEXT)),
    "bpf_obj_get": (_INT, (_TEXT,)),
    "bpf_obj_get_info_by_fd": (_INT, (_INT, _POINTER, _POINTER)),
    "bpf_map_update_elem": (_INT, (_INT, _POINTER, _POINTER, ctypes.c_uint64)),
    "bpf_map_delete_elem": (_INT, (_INT, _POINTER)),
    "bpf_map_lookup_batch": (_INT, (_INT, *[_POINTER] * 6)),
    "libbpf_set_print": (_POINTER, (_POINTER,)),
}
_BATCH = 4096


class BpfError(OSError):
    """The kernel or libbpf refused something."""


@dataclass(frozen=True, slots=True)
class MapRows:
    """Keys and values of a whole map, one row of bytes each."""

    keys: bytes
    values: bytes


class Library:
    """The loaded library.

    Raises:
        BpfError: It is not installed, or lacks a call.

    """

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL(LIBRARY, use_errno=True)
            for name, (result, arguments) in _CALLS.items():
                call = getattr(library, name)
                call.restype, call.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise BpfError(errno.ENOENT, f"{LIBRARY} cannot be used: {error}") from error
        library.libbpf_set_print(None)  # what it would print goes into our own errors
        self._library = library

    def opened(self, path: Path) -> int:
        """Open an object file, and load nothing yet."""
        return self._checked("bpf_object__open_file", os.fsencode(path), None)

    def load(self, handle: int) -> None:
        """Create an object's maps, or take those that are pinned, and load its programs."""
        self._checked("bpf_object__load", handle)

    def close(self, handle: int) -> None:
        """Let go of an object; what is pinned or attached stays."""
        self._library.bpf_object__close(handle)

    def program(self, handle: int, name: str) -> int:
        """Return the descriptor of a loaded program."""
        program = self._checked("bpf_object__find_program_by_name", handle, name.encode())
        return self._checked("bpf_program__fd", program)

    def map(self, handle: int, name: str) -> int:
        """Return the descriptor of a map."""
        return self._checked("bpf_map__fd", self._map(handle, name))

    def pin_map(self, handle: int, name: str, path: Path) -> None:
        """Have a map be the one pinned at `path`, or be pinned there, when its object is loaded."""
        self._checked("bpf_map__set_pin_path", self._map(handle, name), os.fsencode(path))

    def set_constants(self, handle: int, content: bytes) -> None:
        """Set what programs read as constants, before their object is loaded."""
        place = self._map(handle, ".rodata")
        self._checked("bpf_map__set_initial_value", place, content, len(content))

    def attach(self, program: int, target: int, kind: int, pin: Path) -> None:
        """Attach a program to an open cgroup for as long as `pin` exists."""
        link = self._checked("bpf_link_create", program, target, kind, None)
        try:
            self.pin(link, pin)
        finally:
            os.close(link)

    def pin(self, descriptor: int, path: Path) -> None:
        """Let a map or a link exist for as long as `path` does, which is made."""
        self._checked("bpf_obj_pin", descriptor, os.fsencode(path))

    def pinned(self, path: Path) -> int:
        """Return a descriptor of what is pinned at `path`."""
        return self._checked("bpf_obj_get", os.fsencode(path))

    def update_link(self, link: int, program: int) -> None:
        """Put another program in the place of an attached one; no packet misses it."""
        self._checked("bpf_link_update", link, program, None)

    def info(self, descriptor: int, size: int) -> bytes:
        """Return what the kernel tells of an object."""
        buffer, length = ctypes.create_string_buffer(size), ctypes.c_uint32(size)
        self._checked("bpf_obj_get_info_by_fd", descriptor, buffer, ctypes.byref(length))
        return buffer.raw

    def put(self, map_: int, key: bytes, value: bytes) -> None:
        """Set one entry of a map."""
        self._checked("bpf_map_update_elem", map_, key, value, 0)

    def drop(self, map_: int, key: bytes) -> None:
        """Remove one entry of a map; one that is not there is no fault."""
        try:
            self._checked("bpf_map_delete_elem", map_, key)
        except BpfError as error:
            if error.errno != errno.ENOENT:
                raise

    def rows(self, map_: int, key_size: int, value_size: int) -> MapRows:
        """Return all entries of a hash map, thousands with one call."""
        keys, values = bytearray(), bytearray()
        key_buffer = ctypes.create_string_buffer(_BATCH * key_size)
        value_buffer = ctypes.create_string_buffer(_BATCH * value_size)
        token, before = ctypes.create_string_buffer(max(key_size, 8)), None
        while True:
            count, is_last = ctypes.c_uint32(_BATCH), False
            try:
                self._checked(
                    "bpf_map_lookup_batch",
                    *(map_, before, token, key_buffer, value_buffer, ctypes.byref(count), None),
                )
            except BpfError as error:
                if error.errno != errno.ENOENT:
                    raise
                is_last = True
            keys += ctypes.string_at(key_buffer, count.value * key_size)
            values += ctypes.string_at(value_buffer, count.value * value_size)
            if is_last:
                return MapRows(bytes(keys), bytes(values))
            before = token

    def _map(self, handle: int, name: str) -> int:
        return self._checked("bpf_object__find_map_by_name", handle, name.encode())

    def _checked(self, call: str, *arguments: object) -> int:
        """Call the library.

        Raises:
            BpfError: It answered an error code, or nothing where there is to be something.

        """
        ctypes.set_errno(0)
        result = getattr(self._library, call)(*arguments)
        is_failed = result is None or result < 0
        if is_failed:
            code = ctypes.get_errno() or (-result if result else errno.ENOENT)
            raise BpfError(code, f"{call}: {os.strerror(code)}")
        return int(result)
