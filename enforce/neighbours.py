"""What part of a saturated host the tenants' slice is given, by its weight and its neighbours'.

Only what has processes counts: the kernel divides among those that want to run.
"""

from dataclasses import dataclass
from pathlib import Path

from enforce.cgroup import CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.systemd import OUR_SLICE, OURS, own_units

_UNCOUNTED = (OURS, "init.scope")


@dataclass(frozen=True, slots=True)
class Standing:
    """cpu.weight of tidegate's slice, and of each neighbour with processes, by its name."""

    weight: float
    neighbours: dict[str, float]

    def share(self, weight: float) -> float:
        """Return the part of the CPU time, 0 to 1, that is left to a slice of that weight."""
        return weight / (weight + sum(self.neighbours.values()))

    def text(self) -> str:
        """Return all weights in words, our own first."""
        weights = {OUR_SLICE: self.weight, **self.neighbours}
        return ", ".join(f"{name} {weight:.0f}" for name, weight in weights.items())


def standing(root: Path) -> Standing | None:
    """Return how the slice above `root` stands beside its neighbours; None where there is none.

    The agent itself is no neighbour, nor is init.scope: neither takes much for long.
    """
    ours = next((path for path in own_units(root) if path.name == OUR_SLICE), None)
    if ours is None:
        return None
    own = _weight(ours)
    if own is None:
        return None
    others = sorted(path for path in ours.parent.iterdir() if path.is_dir())
    weights = {path.name: _weight(path) for path in others if not path.name.startswith(_UNCOUNTED)}
    return Standing(own, {name: weight for name, weight in weights.items() if weight is not None})


def _weight(path: Path) -> float | None:
    """Return what a cgroup weighs; None where it is none, or a neighbour without processes."""
    try:
        with TenantCgroup(path) as cgroup:
            if path.name != OUR_SLICE and b"populated 1" not in cgroup.read(b"cgroup.events"):
                return None
            return cgroup.cpu_weight
    except (CgroupGoneError, LimitRejectedError):
        return None
