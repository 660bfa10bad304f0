"""What this kernel can and cannot do for tenants' network, found by looking; nothing is changed."""

import os
from collections.abc import Sequence
from pathlib import Path

from enforce.capability import Capability
from enforce.links.libbpf import LIBRARY, BpfError, Library
from enforce.links.netlink import ClassSocket
from enforce.links.programs import BPFFS, OBJECT, WITHOUT_DROP_IN, is_bpffs
from enforce.links.uplink import (
    INGRESS,
    INGRESS_ONLY,
    PARENTS,
    PRIORITY,
    Uplink,
    UplinkError,
    all_above,
    are_preceded,
    directions,
    few,
    filtered_text,
    foreign_root,
    has_ingress_only,
    ifindex_of,
    passed_by_text,
    preceded_text,
    shown,
    why_hidden,
)

_MODULES = {
    "sch_htb": "classes: nothing can be limited",
    "cls_bpf": "filters that run programs: bytes in and forwarded bytes cannot be limited",
    "sch_ingress": "clsact: bytes in cannot be limited",
    "act_mirred": "redirection: bytes in cannot be limited",
    "ifb": "the interface that bytes in pass through: they cannot be limited",
    "sch_fq_codel": "fq_codel: the packets of a tenant share one queue",
}
_OPTIONAL = {"sch_fq_codel"}
_NET_ADMIN, _SYS_ADMIN, _BPF = 1 << 12, 1 << 21, 1 << 39  # linux/capability.h
_DROP_IN = "/etc/systemd/system/tidegate.service.d/network.conf"
_NOT_ENFORCED = "network limits are configured, but not enforceable"


def probe_links(uplinks: Sequence[Uplink], veths: Sequence[str] = ()) -> list[Capability]:
    """Look at what `uplinks` need, at each of them and at `veths`; nothing where there is none."""
    if not uplinks:
        return []
    parts = [_libbpf(), _object(), _file_system(), *_modules(), *map(_uplink, uplinks)]
    for uplink in uplinks:
        parts += _preceded(uplink, has_veths=bool(veths))
    divided = [one.name for one in uplinks if "out" in directions(one)]
    found = {veth: all_above(veth, {}) for veth in veths}
    return [*parts, *(_bridged(veth, above, divided) for veth, above in found.items() if above)]


def probe_agent(pid: int) -> Capability | None:
    """Say whether the agent that runs may do what networks take; None where that is not known.

    It is looked at from outside: this process may do more, or see other interfaces.
    """
    try:
        status = (Path("/proc") / str(pid) / "status").read_text()
        is_on_host = Path(f"/proc/{pid}/ns/net").samefile("/proc/self/ns/net")
    except OSError:
        return None
    lacking = [] if is_on_host else ["the host's network"]
    lacking += lacking_capabilities(status)
    if not lacking:
        return Capability("agent's network", "ok", "it has the capabilities that limits take")
    meaning = f"it runs without {' and '.join(lacking)}: {_NOT_ENFORCED}; {WITHOUT_DROP_IN}"
    remedy = (
        f"install -Dm644 /usr/local/lib/tidegate/network.conf {_DROP_IN}; systemctl daemon-reload; "
        "systemctl restart tidegate"
    )
    return Capability("agent's network", "missing", meaning, remedy)


def lacking_capabilities(status: str) -> list[str]:
    """Name what a process lacks of what networks take, by its /proc/PID/status."""
    held = int(status.partition("CapEff:")[2].split(maxsplit=1)[0], 16)
    found = [] if held & _NET_ADMIN else ["CAP_NET_ADMIN"]
    return found if held & (_BPF | _SYS_ADMIN) else [*found, "CAP_BPF"]


def _bridged(veth: str, above: frozenset[str], uplinks: Sequence[str]) -> Capability:
    """Say whether it can be told what a veth sends, by uplinks whose bytes out are divided."""
    name, netlink = f"veth {veth}", ClassSocket()
    try:
        own = filtered_text(veth, netlink.filters(ifindex_of(veth), INGRESS))
        found = [own, *(why_hidden(netlink, one) for one in sorted(above))]
    except OSError as error:
        return Capability(name, "missing", f"cannot be examined ({error.strerror})", "run as root")
    finally:
        netlink.close()
    found += [passed_by_text(one) for one in uplinks if one in above]
    if not any(found):
        meaning = f"below {few(sorted(map(shown, above)))}: whose its packets are can be told"
        return Capability(name, "ok", meaning)
    meaning = f"{'; '.join(filter(None, found))}: bytes out are neither limited nor counted there"
    return Capability(name, "missing", meaning, "docs/network.md says what shows them")


def _preceded(uplink: Uplink, *, has_veths: bool) -> list[Capability]:
    """Say where somebody else's filters are asked before ours."""
    netlink = ClassSocket()
    try:
        found = [
            preceded_text(uplink.name, way)
            for way in directions(uplink)
            if way == "in" or has_veths
            if are_preceded(netlink.filters(ifindex_of(uplink.name), PARENTS[way]))
        ]
    except OSError:  # which is said of the uplink itself
        return []
    finally:
        netlink.close()
    name, remedy = f"filters of {uplink.name}", f"give them a priority beyond {PRIORITY}"
    return [Capability(name, "degraded", meaning, remedy) for meaning in found]


def _libbpf() -> Capability:
    try:
        Library()
    except BpfError as error:
        meaning = f"{error.strerror}: {_NOT_ENFORCED}, and bytes are not counted"
        return Capability("libbpf", "missing", meaning, "apt-get install libbpf1")
    return Capability("libbpf", "ok", f"{LIBRARY} is there")


def _object() -> Capability:
    name = "BPF programs"
    if OBJECT.exists():
        return Capability(name, "ok", f"{OBJECT.name} came with this installation")
    meaning = f"{OBJECT.name} is not part of this installation: {_NOT_ENFORCED}"
    remedy = "install clang and libbpf-dev and tidegate again, or a wheel built with them"
    return Capability(name, "missing", meaning, remedy)


def _file_system() -> Capability:
    name = "BPF file system"
    if is_bpffs(BPFFS):
        return Capability(name, "ok", f"mounted at {BPFFS}: programs outlive the agent")
    remedy = f"mount -t bpf bpf {BPFFS} (systemd does so at boot)"
    return Capability(name, "missing", f"none at {BPFFS}: {_NOT_ENFORCED}", remedy)


def _modules() -> list[Capability]:
    """Name the kernel modules that are missing; nothing where no list of them is there."""
    folder = Path("/lib/modules") / os.uname().release
    lists = [path for path in (folder / "modules.dep", folder / "modules.builtin") if path.exists()]
    if not lists:
        return []
    known = "\n".join(path.read_text(errors="replace") for path in lists)
    missing = [one for one in _MODULES if f"/{one}.ko" not in known and not _is_loaded(one)]
    if not missing:
        return [Capability("network modules", "ok", f"{', '.join(_MODULES)} are there")]
    return [
        Capability(
            f"kernel module {one}",
            "degraded" if one in _OPTIONAL else "missing",
            f"no {_MODULES[one]}",
            "install the kernel's modules, or one that has them",
        )
        for one in missing
    ]


def _is_loaded(module: str) -> bool:
    return (Path("/sys/module") / module).exists()


def _uplink(uplink: Uplink) -> Capability:
    """Say what qdisc an uplink has, and what becomes of it."""
    name, netlink = f"uplink {uplink.name}", ClassSocket()
    try:
        foreign = foreign_root(netlink, uplink.name)
        root = netlink.root(ifindex_of(uplink.name))
        is_ingress_only = has_ingress_only(netlink, ifindex_of(uplink.name))
    except UplinkError as error:
        return Capability(name, "missing", f"{error}: {_NOT_ENFORCED}", "ip link")
    except OSError as error:
        return Capability(name, "missing", f"cannot be examined ({error.strerror})", "run as root")
    finally:
        netlink.close()
    if is_ingress_only and uplink.out_bytes_per_s:
        remedy = f"tc qdisc del dev {uplink.name} ingress; tc qdisc add dev {uplink.name} clsact"
        return Capability(name, "missing", f"it {INGRESS_ONLY}", f"{remedy}; add its filters again")
    if foreign is None:
        whose = "tidegate's" if root is not None and root.is_ours else "the kernel's own"
        return Capability(name, "ok", f"its qdisc is {whose}")
    if uplink.may_replace_qdisc:
        meaning = f"its qdisc {foreign.kind} is replaced at start, and put back by `release`"
        return Capability(name, "ok", meaning)
    meaning = f"its qdisc {foreign.kind} is someone's, and stays: {_NOT_ENFORCED}"
    where = uplink.name
    remedy = f"[network.{where}] replace_qdisc = true, or: tc qdisc del dev {where} root"
    return Capability(name, "missing", meaning, remedy)
