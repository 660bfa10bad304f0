"""Puts control files back to what is recorded of them; of a unit, systemd is asked to.

What is recorded, and what becomes of the record, is in `enforce.originals`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from enforce import limits
from enforce.bus import Bus, BusError, RefusedError
from enforce.cgroup import CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.columns import LIMITED_BY, Control, DiskControl, Result, UnitControl
from enforce.disks import kernel_name
from enforce.floor import memory_floor_bytes
from enforce.places import unit_of
from enforce.quota import BURST
from enforce.units import UnitWriter

ROOT = "."  # the name of the root itself, whose memory.low may be ours
ANY_INCARNATION = 0  # of a unit that is started again: systemd gives it what it had before
DISK_FILE = re.compile(r"io\.(?:max|weight|bfq\.weight) \d+:\d+", re.ASCII)
_OK = Result.APPLIED
_DISKS = Path("/sys/dev/block")
_NO_DISK = "the disk is gone"
# Lifting comes first: weights and protection take from nobody, and a quota must not be below
# the burst at any moment.
_RELEASE_ORDER = [Control.CPU_MAX, BURST, Control.CPU_WEIGHT, Control.MEMORY_HIGH]


@dataclass(frozen=True, slots=True)
class Bound:
    """What keeps a memory.high from going back to a low value."""

    margin_bytes: float
    may_reclaim: bool = True
    bus: Bus = field(default_factory=Bus)  # for units of systemd's


@dataclass(frozen=True, slots=True)
class Released:
    """How putting one control file back went; file "" is the cgroup itself, made by tidegate."""

    cgroup: str
    file: str
    text: str
    result: Result
    why: str = ""


def is_of_unit(name: str) -> bool:
    """Say whether values under this name are a unit's, which systemd is asked to put back."""
    return name.startswith("/") and unit_of(name) is not None


def put_back(
    root: Path, name: str, cgroup_id: int, files: dict[str, str], bound: Bound
) -> list[Released]:
    """Write one cgroup's recorded values, each by itself."""
    try:
        path = root if name == ROOT else root / name  # or a path of its own
        if cgroup_id == ANY_INCARNATION:
            return _put_back_unit(path, name, files, bound)
        with TenantCgroup(path) as cgroup:
            if cgroup.cgroup_id == cgroup_id and is_of_unit(name):
                return _put_back_unit(path, name, files, bound)
            if cgroup.cgroup_id == cgroup_id:
                order = sorted(files, key=_place)
                return [_restored(cgroup, name, f, files[f], bound) for f in order]
    except LimitRejectedError as error:
        why = str(error)
        return [Released(name, file, text, Result.REFUSED, why) for file, text in files.items()]
    except CgroupGoneError:
        pass
    return [Released(name, file, text, Result.GONE) for file, text in files.items()]


def _put_back_unit(path: Path, name: str, files: dict[str, str], bound: Bound) -> list[Released]:
    """Have systemd put one unit's recorded values back, in one call: each takes its turn.

    Where it refuses that, in one call a file: it may refuse one of them.  Also those of a unit that
    is stopped: it would have them again once it is started.
    """
    order = sorted(files, key=_place)
    gone = [Released(name, f, files[f], Result.GONE, _NO_DISK) for f in order if _is_of_no_disk(f)]
    entries = [Released(name, f, files[f], _OK) for f in order if not _is_of_no_disk(f)]
    done = _restored_unit(path, entries, bound) if entries else []
    if len(entries) > 1 and any(one.result == Result.REFUSED for one in done):
        done = [one for entry in entries for one in _restored_unit(path, [entry], bound)]
    return [*gone, *done]


def _is_of_no_disk(file: str) -> bool:
    """Say whether a file is a line of a disk that is gone, and its limits with it."""
    return bool(DISK_FILE.fullmatch(file)) and not (_DISKS / file.partition(" ")[2]).exists()


def _restored_unit(path: Path, entries: Sequence[Released], bound: Bound) -> list[Released]:
    """Have systemd put these values of a unit back, all in one call."""
    values, held_back = _values_of(entries), set[str]()
    try:
        with TenantCgroup(path) as cgroup:
            for one in entries:
                floor = _floor(cgroup, one.file, one.text, bound)
                if floor is not None:
                    values[Control(one.file)] = floor
                    held_back.add(one.file)
            writer = UnitWriter(bound.bus)
            writer.put(cgroup, values)
            if Control.CPU_MAX in values and Control.CPU_WEIGHT not in values:
                writer.give_back_weight(cgroup)
    except CgroupGoneError:
        try:
            bound.bus.set(path.name, values)
        except (BusError, LimitRejectedError) as error:
            is_gone = isinstance(error, RefusedError)
            result = Result.GONE if is_gone else Result.REFUSED
            return [replace(one, result=result, why=str(error)) for one in entries]
    except LimitRejectedError as error:
        return [replace(one, result=Result.REFUSED, why=str(error)) for one in entries]
    return [
        replace(one, result=Result.HELD_BACK, why=_held_back_text(values[Control(one.file)], bound))
        if one.file in held_back
        else one
        for one in entries
    ]


def _values_of(entries: Sequence[Released]) -> dict[UnitControl, float]:
    """Return what these files of a unit held, of a disk each number of its line."""
    values: dict[UnitControl, float] = {}
    for one in entries:
        name, _, number = one.file.partition(" ")
        if not number:
            values[Control(name)] = limits.parse(Control(name), one.text)
            continue
        major, minor = map(int, number.split(":"))
        disk, words = kernel_name((major, minor)), dict(w.split("=") for w in one.text.split())
        for key in LIMITED_BY:
            control = DiskControl(disk, key)
            values[control] = limits.parse(control, words.get(key, "max"))
    return values


def _place(file: str) -> int:
    return _RELEASE_ORDER.index(file) if file in _RELEASE_ORDER else len(_RELEASE_ORDER)


def _restored(cgroup: TenantCgroup, name: str, file: str, text: str, bound: Bound) -> Released:
    try:
        floor = _floor(cgroup, file, text, bound)
        if _is_of_no_disk(file):
            return Released(name, file, text, Result.GONE, _NO_DISK)
        if floor is None:
            cgroup.restore(file, text)
            return Released(name, file, text, Result.APPLIED)
        cgroup.set_limit(Control(file), floor)
    except CgroupGoneError as error:
        return Released(name, file, text, Result.GONE, str(error))
    except LimitRejectedError as error:
        return Released(name, file, text, Result.REFUSED, str(error))
    return Released(name, file, text, Result.HELD_BACK, _held_back_text(floor, bound))


def _held_back_text(floor_bytes: float, bound: Bound) -> str:
    would = "stop, who cannot give back more"
    if not bound.may_reclaim:
        would = "have to give back memory in use"
    return f"{floor_bytes:.0f} bytes: below that its processes would {would}"


def _floor(cgroup: TenantCgroup, file: str, text: str, bound: Bound) -> float | None:
    """Return what a limit of memory must not go below, None where `text` is above that.

    At memory.max the kernel would kill.  Where no process is, there is nobody to leave room to.
    """
    if file not in (Control.MEMORY_HIGH, Control.MEMORY_MAX) or text == "max":
        return None
    margin_bytes = 0.0 if cgroup.is_empty else bound.margin_bytes
    if file == Control.MEMORY_MAX:
        floor = min(cgroup.memory_current + margin_bytes, cgroup.memory_max)
        return floor if int(text) < floor else None
    floor = memory_floor_bytes(cgroup, margin_bytes=margin_bytes)
    if not bound.may_reclaim:
        floor = max(floor, cgroup.memory_current)
    return floor if int(text) < floor else None
