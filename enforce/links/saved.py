"""What uplinks were like before tidegate, on disk before the first change, and its way back.

An entry holds for one interface number in one boot: another interface of that name is another one.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from enforce.durable import replace_file
from enforce.links.messages import ROOT, Qdisc
from enforce.links.netlink import ClassSocket
from enforce.links.programs import PINS, unpin
from enforce.links.route import remove, remove_ifb
from enforce.links.uplink import foreign_root, has_clsact, ifindex_of

NAME = "uplinks.json"
_VERSION = 1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# What reading a file of anyone's making can raise.
_UNUSABLE = (ValueError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True, slots=True)
class Before:
    """How an uplink was: the qdisc that someone had set, and whether filters had a place."""

    ifindex: int
    clsact_was_there: bool
    kind: str = ""  # "" where it was the kernel's own, which comes back by itself
    handle: int = 0
    options: str = ""  # as hexadecimal digits

    @property
    def root(self) -> Qdisc | None:
        """Return the qdisc to put back, None where the kernel has its own."""
        if not self.kind:
            return None
        return Qdisc(self.ifindex, self.handle, ROOT, self.kind, bytes.fromhex(self.options))


@dataclass(frozen=True, slots=True)
class PutBack:
    """How putting one uplink back went; "" is well."""

    uplink: str
    qdisc: str
    why: str = ""


class SavedUplinks:
    """The recorded uplinks, as a JSON file that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._boot_id = _BOOT_ID.read_text().strip()
        self._saved = self._read()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the uplinks that are not as they were."""
        return tuple(self._saved)

    def record(self, netlink: ClassSocket, name: str) -> None:
        """Record how an uplink is, unless it is recorded.

        Raises:
            OSError: The kernel did not tell, or the disk did not take it.

        """
        ifindex = ifindex_of(name)
        known = self._saved.get(name)
        if known is not None and known.ifindex == ifindex:
            return
        if known is not None:  # that interface is gone: what was made for it is nobody's
            remove_ifb(known.ifindex)
        before = Before(ifindex, has_clsact(netlink, ifindex))
        foreign = foreign_root(netlink, name)
        if foreign is not None:
            options = foreign.options.hex()
            before = Before(ifindex, before.clsact_was_there, foreign.kind, foreign.handle, options)
        self._save({**self._saved, name: before})

    def put_back(self, netlink: ClassSocket, *, keep: Collection[str] = ()) -> list[PutBack]:
        """Put every uplink back as it was but for `keep`; what fails stays recorded."""
        done = []
        for name, before in list(self._saved.items()):
            if name in keep:
                continue
            why, qdisc = "", before.kind or "the kernel's own"
            try:
                if ifindex_of(name) == before.ifindex:
                    remove(
                        netlink,
                        name,
                        before=before.root,
                        clsact_was_there=before.clsact_was_there,
                    )
                else:
                    remove_ifb(before.ifindex)
                self._save({one: b for one, b in self._saved.items() if one != name})
            except Exception as error:  # noqa: BLE001 - pyroute2 raises what it likes
                why = str(error) or type(error).__name__
            done.append(PutBack(name, qdisc, why))
        return done

    def _read(self) -> dict[str, Before]:
        try:
            said: Any = json.loads(self._path.read_text(encoding="utf-8"))
            if said["version"] != _VERSION or said["boot_id"] != self._boot_id:
                return {}
            saved = {str(name): Before(**one) for name, one in said["uplinks"].items()}
            for before in saved.values():
                bytes.fromhex(before.options)
        except FileNotFoundError:
            return {}
        except _UNUSABLE:
            return {}
        return saved

    def _save(self, saved: dict[str, Before]) -> None:
        uplinks = {name: asdict(before) for name, before in saved.items()}
        said = {"version": _VERSION, "boot_id": self._boot_id, "uplinks": uplinks}
        replace_file(self._path, json.dumps(said, indent=1, sort_keys=True))
        self._saved = saved


def give_back(path: Path, pins: Path = PINS) -> list[PutBack]:
    """Put all uplinks back and end counting, whoever set it up; return how each went."""
    if not path.exists() and not pins.exists():
        return []
    netlink = ClassSocket()
    try:
        done = SavedUplinks(path).put_back(netlink)
    finally:
        netlink.close()
    why = unpin(pins) if all(not one.why for one in done) else None
    return [*done, *([PutBack(str(pins), "programs", why)] if why else [])]
