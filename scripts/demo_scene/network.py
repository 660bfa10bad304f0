"""The network's scene: an uplink of 100 Mbit/s to a peer in a network namespace of its own.

The uplink is slow at its far end, as a provider's port is: what comes too fast waits there in one
queue for all, of which no qdisc of this host knows.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from enforce.links.classes import FIRST_TENANT, MAJOR
from enforce.links.netlink import ClassSocket
from enforce.links.uplink import ifindex_of
from scripts.demo_scene.play import Cast, Requests
from scripts.demo_scene.rate_play import Act
from scripts.demo_scene.rates import REQUEST_TIMEOUT_S, Limit, Part, RateScene
from scripts.demo_scene.service import network_allowed
from scripts.demo_scene.stage import ROOT, run

MBIT = 125_000
CARRIES, DIVIDED = 100 * MBIT, 97 * MBIT  # a little is left, so that no queue grows at the far end
QUEUE_BYTES = 1000 * 1514  # the kernel's own default for a link, in full packets
BURST_S = 0.01  # with less a busy machine falls behind
LINK, PEER, NETNS, OURS, THEIRS = "up0", "up1", "peer", "10.7.0.1", "10.7.0.2"
SHOP_PORT, VAULT_PORT, CONNECTIONS = 8080, 8081, 4
ANSWER_BYTES = 8192
AWAY = ("ip", "netns", "exec", NETNS)

SHOP = Part("shop", "platinum", 20 * MBIT, 40 * MBIT, "answers requests with 8 KiB")
BACKUP = Part("backup", "silver", 10 * MBIT, 55 * MBIT, "sends all that it can, 4 connections")
SCENE = RateScene(
    title="The network: two tenants on an uplink of 100 Mbit/s, with one queue at its far end",
    resource=f"net_out:{LINK}",
    unit="Mbit/s",
    unit_bytes_per_s=MBIT,
    carries_bytes_per_s=CARRIES,
    limits="class rate..ceil",
    small=SHOP,
    bulk=BACKUP,
)

_OUR_END = f"""\
link add {LINK} type veth peer name {PEER} netns {NETNS}
addr add {OURS}/24 dev {LINK}
link set {LINK} up
"""
_FAR_END = f"""\
addr add {THEIRS}/24 dev {PEER}
link set {PEER} up
link add slow type ifb
link set slow up
"""
_BOTTLENECK = f"""\
qdisc add dev slow root tbf rate {CARRIES}bps burst {CARRIES * BURST_S:.0f} limit {QUEUE_BYTES}
qdisc add dev {PEER} ingress
filter add dev {PEER} ingress matchall action mirred egress redirect dev slow
"""


@contextmanager
def laid() -> Iterator[None]:
    """Lay the uplink; afterwards remove it."""
    run("ip", "netns", "add", NETNS)
    try:
        run("ip", "-batch", "-", given=_OUR_END)
        run("ip", "-n", NETNS, "-batch", "-", given=_FAR_END)
        run("tc", "-n", NETNS, "-batch", "-", given=_BOTTLENECK)
        with network_allowed():
            yield
    finally:
        run("ip", "netns", "del", NETNS)


@contextmanager
def capped(_root: Path) -> Iterator[None]:
    """Hold each tenant to its share, by a class of its own; the shop is known by its port."""
    run("tc", "-batch", "-", given="".join(_capping(_minors())))
    try:
        yield
    finally:
        run("tc", "qdisc", "del", "dev", LINK, "root")


def _capping(minors: Mapping[str, int]) -> Iterator[str]:
    """Yield what tc is to do; the handle is tidegate's, by which classes are read."""
    shop, backup = f"{minors[SHOP.name]:x}", f"{minors[BACKUP.name]:x}"
    yield f"qdisc add dev {LINK} root handle {MAJOR:x}: htb default {backup}\n"
    for part, minor in ((SHOP, shop), (BACKUP, backup)):
        burst = part.share_bytes_per_s * BURST_S
        rate = f"rate {part.share_bytes_per_s}bps burst {burst:.0f} cburst {burst:.0f}"
        yield f"class add dev {LINK} parent {MAJOR:x}: classid {MAJOR:x}:{minor} htb {rate}\n"
        yield f"qdisc add dev {LINK} parent {MAJOR:x}:{minor} fq_codel\n"
    u32 = f"u32 match ip sport {SHOP_PORT} 0xffff flowid {MAJOR:x}:{shop}"
    yield f"filter add dev {LINK} parent {MAJOR:x}: protocol ip {u32}\n"


def enter(cast: Cast, arrivals_s: Sequence[float]) -> Requests:
    """Add both tenants, the vault that the backup is sent to, and the shop's visitors."""
    vault = (THEIRS, VAULT_PORT)
    cast.tenants({"shop": (OURS, SHOP_PORT, ANSWER_BYTES), "backup": (*vault, CONNECTIONS)})
    cast.add("vault", *vault, where=AWAY)
    visitors = (OURS, SHOP_PORT, REQUEST_TIMEOUT_S)
    return cast.requests("visitors", arrivals_s, *visitors, where=AWAY)


def sent_bytes(cast: Cast, answered: int) -> dict[str, float]:
    """Return what has arrived of each tenant's at the far end, without headers."""
    return {SHOP.name: answered * ANSWER_BYTES, BACKUP.name: cast.counters()["vault"].done}


def limits() -> dict[str, Limit]:
    """Return each tenant's class as the kernel has it, asked without a process that would take CPU.

    Where there is no such class there is no limit.
    """
    minors = np.array(list(_minors().values()))
    with closing(ClassSocket()) as netlink:
        found = netlink.classes(ifindex_of(LINK)).of(minors)
    most = np.where(np.isnan(found.ceil), np.inf, found.ceil).tolist()
    return dict(zip(_minors(), map(Limit, most, found.rate.tolist()), strict=True))


def _minors() -> dict[str, int]:
    """Return the minor of each tenant's class: tidegate numbers them by name, and so do we."""
    names = sorted(cgroup.name for cgroup in ROOT.glob("[!.]*/"))
    return {part.name: FIRST_TENANT + names.index(part.name) for part in SCENE.parts}


ACT = Act(
    name="network",
    scene=SCENE,
    host_table=f"\n[network.{LINK}]\nout_capacity_bytes_per_s = {DIVIDED}\n",
    tenant_table="[network]\nout_floor_bytes_per_s = {floor}\n",
    laid=laid,
    caps="HTB classes with fq_codel",
    capped=capped,
    enter=enter,
    sent_bytes=sent_bytes,
    limits=limits,
)
