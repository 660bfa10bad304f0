"""Where tenants live that are not below tidegate's own cgroup: from configuration to places."""

from collections.abc import Iterable, Iterator, Mapping

from agent.tenant import Tenant
from enforce.elsewhere import Elsewhere, slice_path


def elsewhere_of(tenants: Iterable[Tenant]) -> Mapping[str, Elsewhere]:
    """Return where each lives that lives elsewhere, by name."""
    return {t.name: Elsewhere(t.unit, t.cgroup) for t in tenants if t.is_elsewhere}


def nested(tenants: Iterable[Tenant]) -> Iterator[tuple[str, str]]:
    """Name each tenant that is one with, or inside, another, as far as files tell.

    What one has is then the other's too.  Where units are is known once they run.
    """
    known: dict[str, str] = {}
    for name, place in elsewhere_of(tenants).items():
        path = slice_path(place.unit) if place.unit.endswith(".slice") else place.text
        parts = path.split("/")
        above = {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
        for other, holder in known.items():
            if other in above or other.startswith(f"{path}/"):
                yield name, f"{place.text} is one with, in, or around that of tenant {holder}"
        known[path] = name
