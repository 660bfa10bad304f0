"""What this kernel can and cannot do with the disks that are divided; nothing is changed."""

from collections.abc import Collection, Sequence
from pathlib import Path

from enforce.capability import Capability
from enforce.disks import disk_number, disk_numbers, lower_disks, weight_file

_NO_WEIGHTS = (
    "turn on iocost with a model that fits the disk (io.cost.qos and io.cost.model of the topmost "
    "cgroup), or make bfq its scheduler"
)


def probe_disks(
    names: Sequence[str], root: Path, *, elastic: Collection[str] = ()
) -> list[Capability]:
    """Look at each disk; limits of those that are `elastic` leave the division to weights."""
    numbers = disk_numbers(names)
    known = {number: name for name, number in numbers.items() if number is not None}
    return [
        _missing(name)
        if number is None
        else _disk(name, number, root, known, is_elastic=name in elastic)
        for name, number in numbers.items()
    ]


def _missing(name: str) -> Capability:
    why = "there is no such disk: nothing is counted or limited"
    if disk_number(name) is not None:
        why = "another table names the same disk: only that one is divided"
    return Capability(f"disk {name}", "missing", why, "see: lsblk, docs/disks.md")


def _disk(
    name: str,
    number: tuple[int, int],
    root: Path,
    known: dict[tuple[int, int], str],
    *,
    is_elastic: bool,
) -> Capability:
    title, lower = f"disk {name}", lower_disks(name)
    meaning = f"limited by io.max as {number[0]}:{number[1]}"
    twice = [known[below] for below in map(disk_number, lower) if below in known]
    if twice:
        return Capability(
            title,
            "degraded",
            f"{meaning}; it is stacked on {', '.join(twice)}, which is divided too: what passes "
            "both is limited and booked twice",
            "divide the one that tenants' file systems are on",
        )
    weights = weight_file(number, root)
    if weights is not None:
        return Capability(title, "ok", f"{meaning}, divided by weight by {weights}")
    if is_elastic:
        meaning += "; nothing divides it by weight, so that elastic limits keep no promise"
        return Capability(title, "degraded", meaning, f'"strict" in [modes], or {_NO_WEIGHTS}')
    return Capability(title, "ok", f"{meaning}; nothing divides it by weight, nor needs to")
