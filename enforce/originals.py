"""What control files held before tidegate first wrote them, on disk, and how it is put back.

An entry is written and synced before the first write to its file, so that no kill in between can
lose the value.  Entries belong to one incarnation of a cgroup in one boot, those of a unit that
systemd starts again to all of them; others are dropped.
"""

import re
import threading
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from enforce import limits
from enforce.boot_record import BootRecord
from enforce.cgroup import TenantCgroup
from enforce.columns import Control, Result
from enforce.made import name_problem, remove_made_by_us
from enforce.quota import BURST
from enforce.restoring import (
    ANY_INCARNATION,
    DISK_FILE,
    ROOT,
    Bound,
    Released,
    is_of_unit,
    put_back,
)

_Entry = tuple[int, dict[str, str]]  # cgroup id, text by file
_LOST = (
    "The values that tidegate found before its first writes are lost: `release` will restore those "
    "in force now"
)
_DISK_WEIGHT = re.compile(r"default|\d+", re.ASCII)
_DISK_LIMITS = re.compile(r"(?:(?:rbps|wbps|riops|wiops)=(?:max|\d+) ?){4}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Original:
    """The text that one control file of one cgroup held before tidegate first wrote it."""

    cgroup: str
    cgroup_id: int
    file: str
    text: str


class Originals:
    """The recorded values, as a JSON file that is replaced as a whole.

    `problem` says what happened to a file that makes no sense: it is set aside, never
    overwritten, and the values in force from then on count as the original ones.

    Raises:
        OSError: The file cannot be read now; what it holds may still be good.

    """

    def __init__(self, path: Path, *, is_left: bool = False) -> None:
        """Read the file; one that makes no sense `is_left` where it is by who only looks."""
        self._file = BootRecord(path, "cgroups", lost=_LOST, is_left=is_left)
        self._texts: dict[str, _Entry] = self._file.read(_checked)
        self._lock = threading.Lock()  # ticks record while what is not limited any more is put back

    @property
    def problem(self) -> str | None:
        """Return what happened to a file that makes no sense, if it made none."""
        return self._file.problem

    @property
    def is_empty(self) -> bool:
        """Say whether there is nothing to put back."""
        return not self._texts

    def holds(self, cgroup: str, cgroup_id: int, file: str) -> bool:
        """Say whether this incarnation's original value of `file` is recorded."""
        known_id, texts = self._texts.get(cgroup, (0, {}))
        return known_id == cgroup_id and file in texts

    def text_of(self, cgroup: str, cgroup_id: int, file: str) -> str | None:
        """Return this incarnation's original value of `file`, None where it is not recorded."""
        return self._texts[cgroup][1][file] if self.holds(cgroup, cgroup_id, file) else None

    def knows(self, cgroup: str, file: str) -> bool:
        """Say whether a value of `file` is recorded for any incarnation of this cgroup."""
        return file in self._texts.get(cgroup, (0, {}))[1]

    @property
    def cgroups(self) -> tuple[str, ...]:
        """Return whose values are recorded, but for the root's own."""
        return tuple(sorted(name for name in self._texts if name != ROOT))

    def record(self, originals: Iterable[Original]) -> None:
        """Record values before their files are written, all at once; first values stay.

        Raises:
            OSError: The disk did not take them; nothing of this call is recorded then.

        """
        with self._lock:
            texts = {name: (known, dict(files)) for name, (known, files) in self._texts.items()}
            for original in originals:
                known_id, files = texts.get(original.cgroup, (0, {}))
                if known_id != original.cgroup_id:
                    files = {}
                files.setdefault(original.file, original.text)
                texts[original.cgroup] = (original.cgroup_id, files)
            self._save(texts)

    def release(self, root: Path, *, memory_margin_bytes: float = 16 << 20) -> list[Released]:
        """Put everything below `root` back as it was, and remove empty cgroups made by tidegate.

        What could not be put back stays recorded.  Also a recorded memory.high does not go
        below what the cgroup cannot give back by now (safety rule 4).

        Raises:
            OSError: The outcome cannot be recorded; the kernel's values are put back all the same.

        """
        return self._release(root, self._texts, (), Bound(memory_margin_bytes))

    def release_others(
        self,
        root: Path,
        keep: Collection[str],
        *,
        cgroups: Collection[str] | None,
        memory_margin_bytes: float,
    ) -> list[Released]:
        """Do the same for all but `keep`, without waiting; "." is `root` itself.

        Empty cgroups of ours are removed but for `cgroups`, with None not one.  A recorded
        memory.high is not gone back to below what is in use: the kernel would reclaim inside the
        write.

        Raises:
            OSError: As `release`.

        """
        gone = {name: entry for name, entry in self._texts.items() if name not in keep}
        bound = Bound(memory_margin_bytes, may_reclaim=False)
        return self._release(root, gone, cgroups, bound)

    def release_file(
        self, root: Path, file: str, names: Collection[str], *, memory_margin_bytes: float
    ) -> list[Released]:
        """Put one file of these cgroups back, where it is recorded.

        Raises:
            OSError: As `release`.

        """
        texts = {
            name: (cgroup_id, {file: files[file]})
            for name, (cgroup_id, files) in self._texts.items()
            if name in names and file in files
        }
        bound = Bound(memory_margin_bytes, may_reclaim=False)
        return self._release(root, texts, None, bound) if texts else []

    def _release(
        self, root: Path, texts: dict[str, _Entry], cgroups: Collection[str] | None, bound: Bound
    ) -> list[Released]:
        released: list[Released] = []
        with closing(bound.bus):
            for name, (cgroup_id, files) in sorted(texts.items()):
                released += put_back(root, name, cgroup_id, files, bound)
        done = {(r.cgroup, r.file) for r in released if r.result in (Result.APPLIED, Result.GONE)}
        removed = [] if cgroups is None else remove_made_by_us(root, keep=cgroups)
        for path, problem in removed:
            result = Result.APPLIED if problem is None else Result.REFUSED
            released.append(Released(path.name, "", "", result, problem or ""))
        if done:
            self._forget({(name, texts[name][0], file) for name, file in done})
        return released

    def _forget(self, done: set[tuple[str, int, str]]) -> None:
        """Drop what is put back: files by name and incarnation of their cgroup."""
        with self._lock:
            left: dict[str, _Entry] = {}
            for name, (known, files) in self._texts.items():
                kept = {file: files[file] for file in files if (name, known, file) not in done}
                if kept:
                    left[name] = known, kept
            self._save(left)

    def _save(self, texts: dict[str, _Entry]) -> None:
        """Replace the file by one that is on the disk already.

        Raises:
            OSError: The disk did not take it, or what is there must not be overwritten.

        """
        self._file.save(
            {name: {"id": known, "files": files} for name, (known, files) in texts.items()}
        )
        self._texts = texts


def incarnation(cgroup: TenantCgroup, key: str) -> int:
    """Return which cgroup of a name original values are of; a key elsewhere is a path.

    A scope is never started again: a container's next one is another, of the same name.
    """
    is_kept = is_of_unit(key) and not cgroup.path_text.endswith(".scope")
    return ANY_INCARNATION if is_kept else cgroup.cgroup_id


def _checked(name: str, entry: object) -> _Entry:
    """Return one cgroup's entry, or raise ValueError: a wrong value would be restored one day."""
    if name != ROOT and (problem := _key_problem(name)):
        raise ValueError(f"{name!r}: {problem}")
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), int):
        raise TypeError(f"{name!r}: expected an id and files")
    files = {str(file): str(text) for file, text in entry["files"].items()}
    for file, text in files.items():
        if is_of_unit(name) or entry["id"] == ANY_INCARNATION:
            _check_set_of_units(file)
        _check_value(file, text)
    return entry["id"], files


def _check_set_of_units(file: str) -> None:
    """Raise ValueError where it is a file that systemd is never asked to set."""
    if not (DISK_FILE.fullmatch(file) and file.startswith("io.max ")):
        Control(file)


def _check_value(file: str, text: str) -> None:
    """Raise ValueError where `text` is nothing that a file of that name could have held."""
    if file == BURST:
        int(text)
    elif DISK_FILE.fullmatch(file) is None:
        limits.parse(Control(file), text)
    elif (_DISK_LIMITS if file.startswith("io.max ") else _DISK_WEIGHT).fullmatch(text) is None:
        raise ValueError(f"{file}: expected limits of a disk, got {text!r}")


def _key_problem(name: str) -> str | None:
    """Say why this is no cgroup below the root, nor the path of one elsewhere."""
    if not name.startswith("/"):
        return name_problem(name)
    parts = name.split("/")[1:]
    return "expected a path" if ".." in parts or "" in parts else None
