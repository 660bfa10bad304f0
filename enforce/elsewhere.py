"""How it is said where a tenant lives that is not below tidegate's own cgroup.  Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where a tenant lives that is not below the root: a unit's name, or a path below the mount."""

    unit: str = ""
    cgroup: str = ""

    @property
    def text(self) -> str:
        """Return it as configured."""
        return self.unit or self.cgroup


def slice_path(unit: str) -> str:
    """Return where a slice is: a-b.slice is in a.slice (systemd.slice(5))."""
    parts = unit.removesuffix(".slice").split("-")
    return "/".join("-".join(parts[: depth + 1]) + ".slice" for depth in range(len(parts)))
