"""One uplink's qdiscs, ifb and filters: what is there, what is put there, and how it is put back.

pyroute2 speaks to the kernel here, which takes a fifth of a second to import: only what changes
something needs it.  A qdisc that someone set is replaced only where configuration says so.
"""

import errno
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec, module_from_spec
from typing import Any, Literal

import numpy as np

from enforce.columns import Ints, Restored
from enforce.limits import MIN_RATE_BYTES_PER_S
from enforce.links.classes import (
    INNER,
    MAJOR,
    OTHERS,
    Classes,
    Update,
    difference,
)
from enforce.links.messages import ROOT, Qdisc
from enforce.links.netlink import ClassSocket
from enforce.links.programs import CLASSIFY_IN, FORWARDED_OUT, Programs

Direction = Literal["out", "in"]
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3  # of clsact
_CLSACT = 0xFFFFFFF1
# Behind what others put first; a filter's number tells ours from theirs.
_PRIORITY, _HANDLE, _ALL_PROTOCOLS = 125, 1, 3
_NAMES = {INGRESS: "tidegate_in", EGRESS: "tidegate_out"}
_OWN = {INNER: "class of all tenants", OTHERS: "class of all that is no tenant's"}


@dataclass(frozen=True, slots=True)
class Uplink:
    """One interface whose bytes are divided; bytes per second, 0 for a direction that is not."""

    name: str
    out_bytes_per_s: float = 0.0
    in_bytes_per_s: float = 0.0
    out_reserve_bytes_per_s: float = 0.0  # of these, what all that is no tenant's has at any time
    others_fraction: float = 0.5  # what all that is no tenant's may have at most
    may_replace_qdisc: bool = False


def directions(uplink: Uplink) -> dict[Direction, float]:
    """Return which directions of an uplink are divided, and how much there is of each."""
    both: dict[Direction, float] = {"out": uplink.out_bytes_per_s, "in": uplink.in_bytes_per_s}
    return {way: capacity for way, capacity in both.items() if capacity}


class UplinkError(Exception):
    """An uplink cannot be used as it is; the text says why, and what would help."""


def ifindex_of(name: str) -> int:
    """Return the number of an interface, 0 where there is none."""
    with suppress(OSError):
        return socket.if_nametoindex(name)
    return 0


def ifb_name(ifindex: int) -> str:
    """Return the name of the ifb through which an uplink's tenants receive."""
    return f"tidegate{ifindex}"


class Port:
    """The kernel state of one uplink in the network namespace that this process is in."""

    def __init__(self, uplink: Uplink, netlink: ClassSocket) -> None:
        self.uplink, self._netlink = uplink, netlink

    @property
    def ifindex(self) -> int:
        """Return the uplink's number now, 0 where it is gone."""
        return ifindex_of(self.uplink.name)

    @property
    def ifb(self) -> int:
        """Return the number of its ifb now, 0 where there is none."""
        return ifindex_of(ifb_name(self.ifindex)) if self.ifindex else 0

    def ifindex_of(self, way: Direction) -> int:
        """Return the number of the interface whose HTB divides one direction."""
        return self.ifindex if way == "out" else self.ifb

    def check(self) -> None:
        """See to it that the uplink is free to be used.

        Raises:
            UplinkError: It is not.
            OSError: The kernel refused to tell.

        """
        name = self.uplink.name
        foreign = foreign_root(self._netlink, name)
        if foreign is None or not self.uplink.out_bytes_per_s:
            return
        if not self.uplink.may_replace_qdisc:
            raise UplinkError(
                f"{name} has a qdisc {foreign.kind} that is not tidegate's: nothing is limited "
                f"until it is removed, or [network.{name}] replace_qdisc = true"
            )
        below = [one.kind for one in self._netlink.qdiscs(self.ifindex) if _is_below(one)]
        if below or self._netlink.filters(self.ifindex, foreign.handle):
            raise UplinkError(
                f"{name} has a qdisc {foreign.kind} with qdiscs or filters below it, which could "
                "not be put back as they are: remove it by hand"
            )

    def missing(self, programs: Programs) -> list[Restored]:
        """Return what of all that `make` makes is not there, or is another's.

        Raises:
            OSError: The kernel refused to tell.

        """
        uplink, ifindex = self.uplink, self.ifindex
        is_there: dict[str, bool] = {}
        found: list[Restored] = []
        if uplink.out_bytes_per_s:
            is_there["HTB out"] = self._has_root(ifindex)
            found += self._amiss(ifindex, EGRESS, programs.id_of(FORWARDED_OUT))
        if uplink.in_bytes_per_s:
            ifb = self.ifb
            found += self._amiss(ifindex, INGRESS, programs.id_of(CLASSIFY_IN))
            is_there["ifb"] = bool(ifb) and self._netlink.is_up(ifb)
            is_there["HTB in"] = self._has_root(ifb) or not is_there["ifb"]
        return found + [Restored(what, "removed") for what, is_it in is_there.items() if not is_it]

    def make(self, programs: Programs) -> None:
        """Put qdiscs, ifb and filters there where they are missing, in an order that harms nobody.

        Raises:
            OSError: The kernel refused.

        """
        with _route() as route:
            uplink, ifindex = self.uplink, self.ifindex
            if uplink.out_bytes_per_s:
                self._make_tree(route, ifindex, "out")
            if uplink.in_bytes_per_s:
                ifb = _made_ifb(route, ifb_name(ifindex))
                self._make_tree(route, ifb, "in")
            if not has_clsact(self._netlink, ifindex):
                route.tc("add", "clsact", ifindex)
            if uplink.out_bytes_per_s:
                program = programs.program(FORWARDED_OUT)
                _replace_filter(route, ifindex, EGRESS, program, direct_action=True)
            if uplink.in_bytes_per_s:
                # Last: from here on tenants' packets in take the way through the ifb.
                _redirect(route, ifindex, programs.program(CLASSIFY_IN), to=self.ifb)

    def keep_own_classes(self, found: Classes, way: Direction) -> list[Restored]:
        """Set the class that all tenants share, and the one of all that is nobody's, where amiss.

        Returns:
            What was amiss, which `make` had set.

        Raises:
            OSError: The kernel refused.

        """
        step = difference(self._own_classes(way), found)
        amiss = [
            *(Restored(f"{way} {_OWN[minor]}", "removed") for minor in step.created.minor.tolist()),
            *(Restored(f"{way} {_OWN[minor]}", "changed") for minor in step.changed.minor.tolist()),
        ]
        if amiss:
            self._set_own_classes(self.ifindex_of(way), way)
        return amiss

    def _own_classes(self, way: Direction) -> Update:
        uplink, is_out = self.uplink, way == "out"
        capacity = uplink.out_bytes_per_s if is_out else uplink.in_bytes_per_s
        reserve = uplink.out_reserve_bytes_per_s if is_out else 0.0
        least = max(reserve, MIN_RATE_BYTES_PER_S)
        most = max(capacity * uplink.others_fraction, least)
        rates, ceils = np.array([capacity, least]), np.array([capacity, most])
        return Update(np.array([INNER, OTHERS]), np.floor(rates), np.floor(ceils))

    def _set_own_classes(self, ifindex: int, way: Direction) -> None:
        own = self._own_classes(way)
        for place, parent in enumerate((0, INNER)):
            one = slice(place, place + 1)
            update = Update(own.minor[one], own.rate[one], own.ceil[one])
            for code in self._netlink.set_classes(ifindex, update, parent=parent).values():
                raise OSError(code, f"classes of {self.uplink.name}: {os.strerror(code)}")

    def _make_tree(self, route: Any, ifindex: int, way: Direction) -> None:
        """Put our HTB there, and the classes that its packets need."""
        if not self._has_root(ifindex):
            route.tc("replace", "htb", ifindex, handle=MAJOR << 16, default=OTHERS)
        self._set_own_classes(ifindex, way)

    def _amiss(self, ifindex: int, parent: int, program_id: int) -> list[Restored]:
        """Return our filter where it is not there, or runs another program under its name."""
        found = {one.name: one.program_id for one in self._netlink.filters(ifindex, parent)}
        name = _NAMES[parent]
        if found.get(name) == program_id:
            return []
        return [Restored(f"filter {name}", "changed" if name in found else "removed")]

    def _has_root(self, ifindex: int) -> bool:
        root = self._netlink.root(ifindex)
        return root is not None and root.is_ours


def make_single(netlink: ClassSocket, ifindex: int, minor: int, capacity: float) -> None:
    """Put our HTB on an interface all of whose packets are of the class `minor`.

    Raises:
        OSError: The kernel refused.

    """
    with _route() as route:
        route.tc("replace", "htb", ifindex, handle=MAJOR << 16, default=minor)
    inner = Update(np.array([INNER]), np.array([capacity]), np.array([capacity]))
    for code in netlink.set_classes(ifindex, inner, parent=0).values():
        raise OSError(code, f"class: {os.strerror(code)}")


def has_clsact(netlink: ClassSocket, ifindex: int) -> bool:
    """Say whether a link has the qdisc that filters hang on.

    Raises:
        OSError: The kernel refused to tell.

    """
    return any(one.parent == _CLSACT for one in netlink.qdiscs(ifindex))


def foreign_root(netlink: ClassSocket, name: str) -> Qdisc | None:
    """Return the qdisc that someone else set on an interface, None where there is none.

    Raises:
        UplinkError: There is no such interface.
        OSError: The kernel refused to tell.

    """
    ifindex = ifindex_of(name)
    if not ifindex:
        raise UplinkError(f"there is no interface {name}")
    root = netlink.root(ifindex)
    is_free = root is None or root.is_default or root.is_ours  # one that is down may have none
    return None if is_free else root


def remove(
    netlink: ClassSocket, name: str, *, before: Qdisc | None, clsact_was_there: bool
) -> None:
    """Take everything of ours off an uplink, and put `before` back where something was there.

    Raises:
        OSError: The kernel refused.

    """
    ifindex = ifindex_of(name)
    if not ifindex:
        return
    with _route() as route:
        _remove_filters(netlink, route, ifindex, clsact_was_there=clsact_was_there)
    remove_ifb(ifindex)
    with _route() as route:
        root = netlink.root(ifindex)
        if root is not None and root.is_ours:
            route.tc("del", index=ifindex, parent=ROOT)
    if before is not None and before.ifindex == ifindex:
        _put_back(netlink, before)


def remove_ifb(ifindex: int) -> None:
    """Remove the ifb that was made for an interface of this number, which may be gone itself."""
    ifb = ifindex_of(ifb_name(ifindex))
    if ifb:
        with _route() as route:
            route.link("del", index=ifb)


def _put_back(netlink: ClassSocket, before: Qdisc) -> None:
    """Put a qdisc there as it was, up to the kernel's own rounding.

    Raises:
        OSError: The kernel refused, or made something else of it.

    """
    asked = before
    for _ in range(2):
        netlink.put_back(asked)
        now = netlink.root(before.ifindex)
        if now is None or now.kind != before.kind:
            raise OSError(errno.EIO, f"qdisc {before.kind} did not come back")
        if now.options == before.options:
            return
        # What it tells of times is rounded down, and down again when that is set: ask for more.
        asked = replace(before, options=_raised(before.options, now.options))
    netlink.put_back(before)
    now = netlink.root(before.ifindex)
    if now is None or not _is_close(now.options, before.options):
        raise OSError(errno.EIO, f"qdisc {before.kind} is not as it was")


def _raised(wanted: bytes, kept: bytes) -> bytes:
    if len(wanted) != len(kept):
        return wanted
    asked = _words(wanted)
    return (asked + np.where(_words(kept) + 1 == asked, 1, 0)).astype("<u4").tobytes()


def _is_close(options: bytes, others: bytes) -> bool:
    if len(options) != len(others):
        return False
    return bool((np.abs(_words(options) - _words(others)) <= 1).all())


def _words(options: bytes) -> Ints:
    return np.frombuffer(options, dtype="<u4").astype(np.int64)


def _remove_filters(
    netlink: ClassSocket, route: Any, ifindex: int, *, clsact_was_there: bool
) -> None:
    """Remove our filters, and what they hung on unless it was there or others use it by now."""
    for parent, ours in _NAMES.items():
        if ours in {one.name for one in netlink.filters(ifindex, parent)}:
            where = {"handle": _HANDLE, "parent": parent, "prio": _PRIORITY}
            route.tc("del-filter", "bpf", ifindex, protocol=_ALL_PROTOCOLS, **where)
    others = [one for parent in _NAMES for one in netlink.filters(ifindex, parent)]
    if not clsact_was_there and not others and has_clsact(netlink, ifindex):
        route.tc("del", "clsact", ifindex)


def _is_below(qdisc: Qdisc) -> bool:
    return qdisc.parent not in (ROOT, _CLSACT)


def _made_ifb(route: Any, name: str) -> int:
    ifb = ifindex_of(name)
    if not ifb:
        route.link("add", ifname=name, kind="ifb", txqlen=1000)
        ifb = ifindex_of(name)
    route.link("set", index=ifb, state="up")
    return ifb


def _replace_filter(route: Any, ifindex: int, parent: int, program: int, **more: object) -> None:
    """Put a program's filter there, in the place of an earlier one's."""
    route.tc(
        "replace-filter",
        "bpf",
        ifindex,
        handle=_HANDLE,
        parent=parent,
        prio=_PRIORITY,
        protocol=_ALL_PROTOCOLS,
        fd=program,
        name=_NAMES[parent],
        **more,
    )


def _redirect(route: Any, ifindex: int, program: int, *, to: int) -> None:
    action = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": to}
    _replace_filter(route, ifindex, INGRESS, program, action=action)


def _route() -> Any:
    """Open pyroute2's socket."""
    _name_package()
    from pyroute2.iproute.linux import IPRoute  # noqa: PLC0415 - only what uplinks need

    return IPRoute()


def _name_package() -> None:
    """Have pyroute2's parts found without its own beginning, which loads all of them: 4 MiB."""
    spec = find_spec("pyroute2")
    if spec is not None and "pyroute2" not in sys.modules:
        sys.modules["pyroute2"] = module_from_spec(spec)
