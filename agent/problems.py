"""Names in words what a tick could not enforce, keep or write.  Pure."""

from collections.abc import Iterable

import numpy as np

from agent.controls import UNCOUNTED, all_controls, control_of
from agent.cycle import Decision
from agent.record import DriftTick
from agent.shares import lacking_fraction
from agent.tenant import Floats, Resource, Roster
from enforce.columns import DiskControl, HostSample, Outcomes, Result

# A guarantee that is short by less is not worth an alarm.
_COARSE_FRACTION = 0.02
_WHY_NO_DISK = (
    ": the disk is not there, has a second name here, the io controller is off, or it is stacked "
    "on one disk and the tenant is a unit of systemd's, which would limit that (docs/disks.md)"
)


def unenforceable(sample: HostSample, resources: Iterable[Resource] = ()) -> tuple[str, ...]:
    """Name every limit that is configured but cannot be enforced: never silence (rule 8).

    `resources` are those that are divided here.
    """
    is_present = sample.cgroup_id != 0
    missing: dict[str, int] = {}
    for control in all_controls(resources):
        if count := int((is_present & np.isnan(sample.limit(control))).sum()):
            named = f"disk {control.disk}" if isinstance(control, DiskControl) else str(control)
            missing[named] = count
    found = [
        f"{what}: configured but not enforceable for {count} tenant(s)"
        + (_WHY_NO_DISK if what.startswith("disk ") else "")
        for what, count in missing.items()
    ]
    absent = int((~is_present).sum())
    if absent:
        found.append(f"{absent} tenant(s) without a cgroup")
    return (*found, *sample.network.problems)


def unenforced(decision: Decision, sample: HostSample) -> list[str]:
    """Name what is divided here but not limited: decided, shown, and without effect (rule 8)."""
    found: dict[str, bool] = {}
    for resource in decision.resources:
        if control_of(resource) is None:
            what = " ".join((resource.kind.group, resource.device)).strip()
            found[what] = found.get(what, False) or _is_uncounted(resource, sample)
    return [
        f"{what}: configured but not enforceable: limits are decided, and nothing writes them"
        + ("; usage is unknown, since nothing counts it" if is_uncounted else "")
        for what, is_uncounted in found.items()
    ]


def _is_uncounted(resource: Resource, sample: HostSample) -> bool:
    disks = sample.disks
    if resource.kind in UNCOUNTED or resource.device not in disks.names:
        return True
    return bool(np.isnan(disks.read_bytes[disks.names.index(resource.device)]).all())


def host_needs(decision: Decision) -> list[str]:
    """Name each emergency pool that is kept for the host's own survival, and why."""
    return [
        f"emergency pool of {resource} kept for the host itself: {part.host_need}"
        for resource, part in decision.resources.items()
        if part.host_need
    ]


def broken_promises(decision: Decision, cpu_weight: Floats, capacity_cores: float) -> list[str]:
    """Name what is promised and cannot be kept.

    Floors that no longer fit the host (law 3): a CPU went offline.  And guarantees that whole
    weights cannot express beside so many tenants.
    """
    found = [
        f"{resource} floors exceed the capacity: they are scaled down by weight"
        for resource, part in decision.resources.items()
        if part.allocation.guarantee.are_floors_scaled
    ]
    promised = decision.resources[Resource.CPU].allocation.guarantee.amount
    lacking = lacking_fraction(cpu_weight, promised, capacity_cores)
    if count := int((lacking > _COARSE_FRACTION).sum()):
        found.append(
            f"cpu.weight is too coarse for the guaranteed parts of {count} tenant(s) among "
            f"{len(lacking)}: under full load they are short by up to {lacking.max():.0%}"
        )
    return found


def refusals(outcomes: tuple[Outcomes, ...]) -> list[str]:
    """Name each control that the kernel or the disk refused to change, with one reason."""
    found = []
    for outcome in outcomes:
        if not len(outcome.tenant):
            continue
        refused = outcome.tenant[outcome.result == Result.REFUSED]
        if len(refused):
            why = outcome.why.get(int(refused[0]), "no reason given")
            found.append(f"{outcome.control}: refused for {len(refused)} tenant(s): {why}")
    return found


def lost(drift: DriftTick) -> list[str]:
    """Name what somebody else took of late of what divides uplinks: it was put back."""
    found: dict[str, list[str]] = {}
    for one in drift.losses:
        where = f"network: {one.where}: " if one.where else "network: "
        found.setdefault(where + one.words, []).append(one.tenant)
    return [
        words + (f" ({len(names)} tenant(s), such as {names[0]})" if names[0] else "")
        for words, names in found.items()
    ]


def insisted(drift: DriftTick, roster: Roster) -> list[str]:
    """Name each control whose files somebody else keeps changing back, and one tenant of them."""
    found = []
    for control, is_insisting in drift.pins.is_insisting.items():
        if count := int(is_insisting.sum()):
            name = roster.names[int(np.flatnonzero(is_insisting)[0])]
            found.append(
                f"{control}: somebody else keeps changing it back for {count} tenant(s), such as "
                f"{name}: it is left as they set it, whatever was promised"
            )
    return found
