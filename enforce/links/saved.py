"""What uplinks were like before tidegate, on disk before the first change, and its way back.

An entry holds for one interface number in one boot: another interface of that name is another one.
What is tidegate's can be told without the record, and goes with it or without; what was there
before it cannot.
"""

import socket
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from enforce.boot_record import BootRecord
from enforce.links.messages import ROOT, Qdisc
from enforce.links.netlink import ClassSocket
from enforce.links.programs import PINS, unpin
from enforce.links.route import remove, remove_ifb, remove_way
from enforce.links.uplink import (
    FILTERS,
    Direction,
    UplinkError,
    foreign_root,
    has_clsact,
    ifindex_of,
    is_clsact,
    number_of_ifb,
)

NAME = "uplinks.json"
_LOST = (
    "Qdiscs that others had set where tidegate's are now are lost: `release` will leave the "
    "kernel's own"
)
_WITHOUT_RECORD = "the kernel's own"


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
    """The recorded uplinks, as a JSON file that is replaced as a whole.

    `problem` says what happened to a file that makes no sense: it is set aside, never overwritten.
    """

    def __init__(self, path: Path) -> None:
        self._file = BootRecord(path, "uplinks", lost=_LOST)
        self._saved = self._file.read(_checked)

    @property
    def problem(self) -> str | None:
        """Return what happened to a file that makes no sense, if it made none."""
        return self._file.problem

    @property
    def names(self) -> tuple[str, ...]:
        """Return the uplinks that are not as they were."""
        return tuple(self._saved)

    def record(self, netlink: ClassSocket, name: str, *, is_root_replaced: bool = False) -> None:
        """Record how an uplink is, unless it is recorded; its qdisc only where ours replaces it.

        Raises:
            UplinkError: There is no such interface.
            OSError: The kernel did not tell, or the disk did not take it.

        """
        ifindex = ifindex_of(name)
        if not ifindex:
            raise UplinkError(f"there is no interface {name}")
        known = self._saved.get(name)
        foreign = foreign_root(netlink, name) if is_root_replaced else None
        if known is not None and known.ifindex != ifindex:
            remove_ifb(known.ifindex)  # that interface is gone: what was made for it is nobody's
            known = None
        if known is None:
            known = Before(ifindex, has_clsact(netlink, ifindex))
        elif foreign is None:
            return
        if foreign is not None:
            options = foreign.options.hex()
            known = replace(known, kind=foreign.kind, handle=foreign.handle, options=options)
        self._save({**self._saved, name: known})

    def put_back(self, netlink: ClassSocket, *, keep: Collection[str] = ()) -> list[PutBack]:
        """Put every uplink back as it was but for `keep`; what fails stays recorded."""
        done = []
        for name, before in list(self._saved.items()):
            if name in keep:
                continue
            why, qdisc, now = "", before.kind or _WITHOUT_RECORD, ""
            try:
                now = _name_now(netlink, name, before.ifindex)
                others = {one: b for one, b in self._saved.items() if one != name}
                if now in keep:
                    self._save({**others, now: before})
                    continue
                if now:
                    remove(
                        netlink,
                        now,
                        before=before.root,
                        clsact_was_there=before.clsact_was_there,
                    )
                else:
                    remove_ifb(before.ifindex)
                self._save(others)
            except Exception as error:  # noqa: BLE001 - pyroute2 raises what it likes
                why = str(error) or type(error).__name__
            done.append(PutBack(now or name, qdisc, why))
        return done

    def put_back_way(self, netlink: ClassSocket, name: str, way: Direction) -> None:
        """Put one direction of an uplink back of which the other stays divided.

        Raises:
            OSError: The kernel refused, or the disk did not take that it is done.

        """
        ifindex, before = ifindex_of(name), self._saved.get(name)
        if before is not None and before.ifindex != ifindex:
            before = None
        remove_way(netlink, ifindex, way, before=before.root if before else None)
        if before is not None and way == "out":
            without = Before(ifindex, before.clsact_was_there)
            self._save({**self._saved, name: without})

    def _save(self, saved: dict[str, Before]) -> None:
        self._file.save({name: asdict(before) for name, before in saved.items()})
        self._saved = saved


def _name_now(netlink: ClassSocket, name: str, ifindex: int) -> str:
    """Return how an interface is called that was `name`, "" where it is gone.

    What bears our HTB under another name was renamed: of a number alone that is not sure.
    """
    if ifindex_of(name) == ifindex:
        return name
    root = netlink.root(ifindex)
    return dict(socket.if_nameindex()).get(ifindex, "") if root and root.is_ours else ""


def _checked(_name: str, said: Any) -> Before:
    """Return an entry that is what an uplink can have been.

    Raises:
        ValueError: It is none.

    """
    before = Before(**said)
    is_one = type(before.clsact_was_there) is bool and isinstance(before.kind, str)
    if not is_one or type(before.ifindex) is not int or type(before.handle) is not int:
        raise ValueError(f"{before} is no interface that was")
    if not 0 < before.ifindex < 1 << 31 or not 0 <= before.handle < 1 << 32:
        raise ValueError(f"{before} has no such numbers")
    bytes.fromhex(before.options)
    return before


def give_back(
    path: Path, pins: Path = PINS, *, is_sought_everywhere: bool = False
) -> list[PutBack]:
    """Put all uplinks back and end counting, whoever set it up; return how each went.

    Where nothing is recorded, nor a pin there, links are looked at only if asked for: a service
    that divides no uplink may not even ask.
    """
    saved = SavedUplinks(path)
    is_known = bool(saved.names) or saved.problem is not None or pins.exists()
    if not is_known and not is_sought_everywhere:
        return []
    netlink = ClassSocket()
    try:
        done = saved.put_back(netlink)
        done += _strays_removed(netlink, but={one.uplink for one in done})
    finally:
        netlink.close()
    why = unpin(pins) if all(not one.why for one in done) else None
    if saved.problem is not None:
        done.append(PutBack(str(path), "record", saved.problem))
    return [*done, *([PutBack(str(pins), "programs", why)] if why else [])]


def _strays_removed(netlink: ClassSocket, *, but: Collection[str]) -> list[PutBack]:
    """Take what is ours off links of which no record tells; their clsact may be another's."""
    done = []
    for name in _strays(netlink):
        if name in but or not ifindex_of(name):  # an ifb goes with the link it was made for
            continue
        why, number = "", number_of_ifb(name)
        try:
            if number:
                remove_ifb(number)
            else:
                remove(netlink, name, before=None, clsact_was_there=True)
        except Exception as error:  # noqa: BLE001 - pyroute2 raises what it likes
            why = str(error) or type(error).__name__
        done.append(PutBack(name, _WITHOUT_RECORD, why))
    return done


def _strays(netlink: ClassSocket) -> list[str]:
    """Return the links that bear our HTB, or a filter of ours; ifbs last, since filters lead there.

    Raises:
        OSError: The kernel did not tell.

    """
    names = dict(socket.if_nameindex())
    qdiscs = netlink.qdiscs()
    ours = {one.ifindex for one in qdiscs if one.parent == ROOT and one.is_ours}
    for ifindex in {one.ifindex for one in qdiscs if is_clsact(one)}:
        found = {one.name for parent in FILTERS for one in netlink.filters(ifindex, parent)}
        if found & set(FILTERS.values()):
            ours.add(ifindex)
    found_names = [names[ifindex] for ifindex in sorted(ours) if ifindex in names]
    return sorted(found_names, key=lambda name: bool(number_of_ifb(name)))
