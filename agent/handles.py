"""Opens the kernel handles of one roster: what samples tenants, and what writes their limits."""

from agent.policy import uplinks_of
from agent.ports import Kernel
from agent.settings import Config
from agent.tenant import Roster
from enforce.apply import Applier
from enforce.links.reader import UplinkReader
from enforce.links.saved import NAME as UPLINKS_NAME
from enforce.links.shaper import Shaper
from enforce.originals import Originals
from enforce.places import Places
from enforce.sampler import Sampler


def opened_kernel(config: Config, roster: Roster, places: Places, originals: Originals) -> Kernel:
    """Open the handles of tenants who live at `places`.

    Raises:
        OSError: Too few descriptors are left.

    """
    root, names, uplinks = config.host.cgroup_root, roster.names, _uplinks(config, roster)
    applier = Applier(
        root,
        names,
        originals,
        memory_margin_bytes=config.host.margin_bytes,
        uplinks=uplinks,
        places=places,
    )
    sampler = Sampler(root, names, disks=config.disks, uplinks=uplinks, places=places)
    applier.touched, applier.opened = sampler.touched, sampler.opened
    applier.is_sampled = sampler.is_sampled
    if uplinks is not None:
        uplinks.seek_below(sampler.path)
    return Kernel(sampler, applier)


def _uplinks(config: Config, roster: Roster) -> UplinkReader | None:
    """Return what reads and writes tenants' classes on uplinks, where these are divided."""
    uplinks, host = uplinks_of(config), config.host
    if not uplinks:
        return None
    is_limited = ~roster.is_observed_only & (not host.is_observing)
    reached = {t.name: t.veth for t in config.tenants if t.veth is not None or t.is_elsewhere}
    shaper = Shaper(
        host.cgroup_root,
        roster.names,
        uplinks,
        is_limited=is_limited.tolist(),
        record=host.state_dir / UPLINKS_NAME,
        veths={at: reached[name] for at, name in enumerate(roster.names) if name in reached},
    )
    return UplinkReader(shaper)
