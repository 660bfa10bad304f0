"""Limits that tenants elsewhere had before tidegate, and that no ceiling in their file keeps."""

from collections.abc import Iterator
from math import isinf

from agent.answers import Finding
from agent.paths import ORIGINALS_NAME
from agent.settings import Config
from agent.tenant import Resource, Tenant
from enforce.cgroup import CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.columns import Control
from enforce.limits import parse
from enforce.originals import Originals, incarnation
from enforce.places import Places

_KEYS = {
    Control.CPU_MAX: (Resource.CPU, "cpu.ceiling_cores"),
    Control.MEMORY_HIGH: (Resource.MEMORY, "memory.ceiling_bytes"),
}


def unkept_limits(config: Config, places: Places) -> Iterator[Finding]:
    """Yield a finding for each limit that whoever made a tenant's cgroup had set.

    An engine writes what a container was given (`docker run --cpus`) to the very file that tidegate
    writes: without a ceiling of the tenant's it may have more from then on.
    """
    if not places.elsewhere:
        return
    try:
        originals = Originals(config.host.state_dir / ORIGINALS_NAME, is_left=True)
    except OSError as error:
        why = f"what limits tenants had before cannot be read ({error.strerror})"
        yield Finding("limits before", "degraded", why, "run as root")
        return
    for at in places.elsewhere:
        path = places.path(at)
        if path is None:
            continue
        try:
            with TenantCgroup(path) as cgroup:
                yield from _unkept(config.tenants[at], cgroup, originals)
        except (CgroupGoneError, LimitRejectedError):
            continue


def _unkept(tenant: Tenant, cgroup: TenantCgroup, originals: Originals) -> Iterator[Finding]:
    key = cgroup.path_text
    for control, (resource, name) in _KEYS.items():
        entitlement = tenant.entitlements.get(resource)
        if entitlement is not None and not isinf(entitlement.ceiling):
            continue
        recorded = originals.text_of(key, incarnation(cgroup, key), control)
        if recorded is None and not cgroup.has(control):
            continue
        try:
            limit = parse(control, cgroup.text(control) if recorded is None else recorded)
        except ValueError:
            continue
        if not isinf(limit):
            said = f"{limit:g} cores" if resource == Resource.CPU else f"{limit:.0f} bytes"
            yield Finding(
                f"limit of {tenant.name}",
                "degraded",
                f"{control} said {said} before tidegate, which may let it have more: its file "
                "names no ceiling",
                f"to keep that, {name} = {limit:.10g} in {tenant.name}.toml",
            )
