"""One uplink: what is divided there, and what there is of it now.  Nothing is changed here."""

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
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3  # of clsact
_CLSACT = 0xFFFFFFF1
_IFB = "tidegate"
_INTERFACES = Path("/sys/class/net")
INGRESS_ONLY = (
    "has somebody's qdisc ingress, and so no place for filters on what leaves: bytes out are not "
    "limited until it is replaced by clsact, which takes the same filters"
)
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


def master_of(name: str) -> str:
    """Return the bridge (or bond, or VRF) that an interface is a port of, "" where it is none."""
    with suppress(OSError):
        return (_INTERFACES / name / "master").readlink().name
    return ""


def bridge_of(name: str) -> str:
    """Return the bridge that an interface is a port of, "" where it is none."""
    master = master_of(name)
    return master if (_INTERFACES / master / "bridge").is_dir() and master else ""


def all_above(name: str) -> set[str]:
    """Return the interfaces of any kind by which packets of this one may seem to come in."""
    found = {entry.name.removeprefix("upper_") for entry in (_INTERFACES / name).glob("upper_*")}
    return found.union(*map(all_above, found))


def vlans_above(name: str) -> list[str]:
    """Return the VLAN interfaces whose packets leave by this one, those above others too."""
    found: list[str] = []
    for entry in (_INTERFACES / name).glob("upper_*"):
        upper = entry.name.removeprefix("upper_")
        with suppress(OSError):
            if "DEVTYPE=vlan" in (_INTERFACES / upper / "uevent").read_text().splitlines():
                found += [upper, *vlans_above(upper)]
    return found


def passing(uplinks: Sequence[str]) -> dict[int, int]:
    """Return by which uplink the packets of each interface leave.

    Those of VLANs above one, too, and of the bridge that it is a port of: a host sends by that.  An
    interface that is an uplink itself is its own.
    """
    found: dict[str, str] = {}
    for name in uplinks:
        for lower in filter(None, (bridge_of(name), name)):
            found |= dict.fromkeys((lower, *vlans_above(lower)), name)
    found |= {name: name for name in uplinks}
    numbers = {ifindex_of(one): ifindex_of(uplink) for one, uplink in found.items()}
    return {one: uplink for one, uplink in numbers.items() if one and uplink}


def are_others(filters: Iterable[Filter]) -> bool:
    """Say whether any of these filters is not ours."""
    return any(one.name not in FILTERS.values() for one in filters)


def amiss_of(filters: Iterable[Filter], parent: int, program_id: int) -> list[Restored]:
    """Return our filter below `parent` where it is not among these, or runs another program."""
    found, name = {one.name: one.program_id for one in filters}, FILTERS[parent]
    if found.get(name) == program_id:
        return []
    return [Restored(f"filter {name}", "changed" if name in found else "removed")]


def hidden_text(veth: str, master: str, where: str) -> str:
    """Say why it cannot be told what a veth sends that is a port: others' filters are at `where`.

    They may end the way of packets, or take away what was noted in them as they came in.
    """
    return (
        f"veth {veth} is a port of {master}, and somebody else has filters on what comes in by "
        f"{where}: its bytes out are neither limited nor counted"
    )


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
