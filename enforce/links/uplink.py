"""One uplink: what is divided there, and what there is of it now.  Nothing is changed here."""

import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from enforce.columns import Restored
from enforce.links.messages import ROOT, Filter, Qdisc
from enforce.links.netlink import ClassSocket

Direction = Literal["out", "in"]
WAYS: tuple[Direction, ...] = ("out", "in")
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3  # of clsact
_CLSACT = 0xFFFFFFF1
_IFB = "tidegate"
_INTERFACES, _UPPER = Path("/sys/class/net"), "upper_"
_CARRIED = {"DEVTYPE=vlan", "DEVTYPE=bridge"}
# Kinds that hand packets on as come by themselves, or by the veth.  With Open vSwitch they come by
# others, that nothing ties to it.
_HANDING_ON = {"bridge", "bond", "team", "vrf", "vlan", "macvlan"}
_NAMED = 3
INGRESS_ONLY = (
    "has somebody's qdisc ingress, and so no place for filters on what leaves: bytes out are not "
    "limited until it is replaced by clsact, which takes the same filters"
)
PARENTS: dict[Direction, int] = {"out": EGRESS, "in": INGRESS}
PRIORITY = 125  # of our filters: behind what others put first
FILTERS = {INGRESS: "tidegate_in", EGRESS: "tidegate_out"}


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


def shown(name: str) -> str:
    """Return an interface's name as any terminal shows it: the kernel takes nearly any bytes."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in name
    )


def _right_above(name: str) -> list[str]:
    with suppress(OSError), os.scandir(_INTERFACES / name) as entries:  # it may vanish at any time
        names = [one.name for one in entries if one.name.startswith(_UPPER)]
        return sorted(name.removeprefix(_UPPER) for name in names)
    return []


def all_above(name: str, known: dict[str, frozenset[str]]) -> frozenset[str]:
    """Return the interfaces of any kind by which packets of this one may seem to come in.

    That is the bridge, bond or VRF that it is a port of, its VLANs, and what lies above those;
    `known` keeps what was found, for others below them.
    """
    if name not in known:
        right_above = _right_above(name)
        further = (all_above(one, known) for one in right_above)
        known[name] = frozenset(right_above).union(*further)
    return known[name]


def _leaving_by(name: str, uplinks: Sequence[str]) -> list[str]:
    """Return the VLANs and bridges by which a host sends what leaves by an interface.

    Those above others, too, but not beyond one that is an uplink itself.
    """
    found: list[str] = []
    for upper in _right_above(name):
        with suppress(OSError):
            kind = (_INTERFACES / upper / "uevent").read_text().splitlines()
            if upper not in uplinks and not _CARRIED.isdisjoint(kind):
                found += [upper, *_leaving_by(upper, uplinks)]
    return found


def passing(uplinks: Sequence[str]) -> dict[int, int]:
    """Return by which uplink the packets of each interface leave.

    Those of VLANs above one, too, and of the bridge that it is a port of: a host sends by that.  An
    interface that is an uplink itself is its own.
    """
    found = {one: name for name in uplinks for one in (name, *_leaving_by(name, uplinks))}
    numbers = {ifindex_of(one): ifindex_of(uplink) for one, uplink in found.items()}
    return {one: uplink for one, uplink in numbers.items() if one and uplink}


def amiss_of(filters: Iterable[Filter], parent: int, program_id: int) -> list[Restored]:
    """Return our filter below `parent` where it is not among these, or runs another program."""
    found, name = {one.name: one.program_id for one in filters}, FILTERS[parent]
    if found.get(name) == program_id:
        return []
    return [Restored(f"filter {name}", "changed" if name in found else "removed")]


def are_preceded(filters: Iterable[Filter]) -> bool:
    """Say whether somebody else's filters are asked before ours."""
    return any(one.name not in FILTERS.values() and one.priority < PRIORITY for one in filters)


def preceded_text(uplink: str, way: Direction) -> str:
    """Say what somebody else's filters mean that are asked before ours on an uplink."""
    whose = "" if way == "in" else " of tenants behind a veth"
    move, hook = ("comes in", "ingress") if way == "in" else ("leaves", "egress")
    return (
        f"somebody else's filters on what {move} by {uplink} are asked before tidegate's: packets"
        f"{whose} that they let pass at once are not limited (tc filter show dev {uplink} {hook})"
    )


def filtered_text(name: str, filters: Iterable[Filter]) -> str:
    """Say that somebody else has filters on what comes in by an interface, "" where nobody has.

    They may end the way of packets, or take away what was noted in them.
    """
    if any(one.name not in FILTERS.values() for one in filters):
        return f"somebody else has filters on what comes in by {shown(name)}"
    return ""


def why_hidden(netlink: ClassSocket, above: str) -> str:
    """Say why it cannot be told what veths send that lie below an interface, "" where it can.

    Raises:
        OSError: The kernel refused to tell.

    """
    ifindex = ifindex_of(above)
    if why := filtered_text(above, netlink.filters(ifindex, INGRESS)):
        return why
    kind = netlink.kind(ifindex)
    if kind is None or kind in _HANDING_ON:  # None: it has gone
        return ""
    return f"{shown(above)} ({kind or 'of no known kind'}) does not show whose packets it hands on"


def passed_by_text(uplink: str) -> str:
    """Say that what comes in by veths below an uplink leaves by others that lie below it."""
    return f"{uplink} lies above, and is passed by (name the port of it that leads out instead)"


def ifb_name(ifindex: int) -> str:
    """Return the name of the ifb through which an uplink's tenants receive."""
    return f"{_IFB}{ifindex}"


def number_of_ifb(name: str) -> int:
    """Return for which interface an ifb of this name was made, 0 where it is no such name."""
    number = name.removeprefix(_IFB)
    return int(number) if name != number and number.isdecimal() else 0


def is_below(qdisc: Qdisc) -> bool:
    """Say whether a qdisc hangs below another, and not on the link itself."""
    return qdisc.parent not in (ROOT, _CLSACT)


def is_clsact(qdisc: Qdisc) -> bool:
    """Say whether a qdisc is the one that filters hang on, or the older one in its place."""
    return qdisc.parent == _CLSACT


def has_clsact(netlink: ClassSocket, ifindex: int) -> bool:
    """Say whether a link has the qdisc that filters hang on.

    Raises:
        OSError: The kernel refused to tell.

    """
    return any(is_clsact(one) for one in netlink.qdiscs(ifindex))


def has_ingress_only(netlink: ClassSocket, ifindex: int) -> bool:
    """Say whether a link has the older qdisc in the place of clsact, which sees what comes in only.

    Raises:
        OSError: The kernel refused to tell.

    """
    return any(is_clsact(one) and one.kind == "ingress" for one in netlink.qdiscs(ifindex))


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


def few(names: Sequence[str]) -> str:
    """Return some of these names, for a message."""
    return ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED)
