"""One uplink: what is divided there, and what there is of it now.  Nothing is changed here."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from enforce.links.messages import ROOT, Qdisc
from enforce.links.netlink import ClassSocket

Direction = Literal["out", "in"]
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3  # of clsact
_CLSACT = 0xFFFFFFF1
_IFB = "tidegate"
_INTERFACES = Path("/sys/class/net")
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
    """Return by which uplink the packets of each interface leave: those of VLANs above one, too.

    A VLAN interface that is an uplink itself is its own.
    """
    found = {upper: name for name in uplinks for upper in vlans_above(name)}
    found |= {name: name for name in uplinks}
    numbers = {ifindex_of(one): ifindex_of(uplink) for one, uplink in found.items()}
    return {one: uplink for one, uplink in numbers.items() if one and uplink}


def behind_text(veth: str, master: str) -> str:
    """Say what does not hold for a tenant whose veth is a port of another interface."""
    return (
        f"veth {veth} is a port of {master}: its bytes out are neither limited nor counted, since "
        f"they come from {master} by the time they leave"
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
    """Say whether a qdisc is the one that filters hang on."""
    return qdisc.parent == _CLSACT


def has_clsact(netlink: ClassSocket, ifindex: int) -> bool:
    """Say whether a link has the qdisc that filters hang on.

    Raises:
        OSError: The kernel refused to tell.

    """
    return any(is_clsact(one) for one in netlink.qdiscs(ifindex))


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
