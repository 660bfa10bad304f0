"""Examines the host, the configuration and the agent, and puts the findings in one list."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import msgspec

from agent.allocation import Mode
from agent.answers import Finding, Health, Status, TenantStatus
from agent.client import AgentError, get
from agent.config import ConfigError, load_host
from agent.controls import control_of
from agent.found_limits import unkept_limits
from agent.homes import elsewhere_of
from agent.host import read_config
from agent.policy import uplinks_of
from agent.sections import NETWORK
from agent.settings import Config, HostSettings
from agent.tenant import Resource
from agent.units import approximate_bytes
from enforce.ancestors import protected_less, weakest
from enforce.capability import Capability, probe
from enforce.disk_probing import probe_disks
from enforce.foreign import made_by_others, maker
from enforce.kernel_settings import probe_settings
from enforce.links.discovery import AUTO, sought
from enforce.links.probing import probe_agent, probe_links
from enforce.neighbours import Standing, standing
from enforce.places import MOUNT, SEVERAL, Places, unit_of
from enforce.systemd import OUR_SLICE, weight_under
from enforce.unit_values import persistent_settings

_SEVERITIES = ("ok", "degraded", "missing")
_MOST_NAMED = 5
_VETH_REMEDY = "docs/network.md says how it is found, and what to do where there is none"


def examined(config_path: Path, tenants_dir: Path, socket_path: Path) -> list[Finding]:
    """Return what was found of the configuration, the agent and the kernel, in this order."""
    configuration, config = _configuration(config_path, tenants_dir)
    root = _cgroup_root(config_path)
    beside = standing(root)
    veths, of_veths = _sought_veths(config)
    return [
        configuration,
        *_unenforceable(config),
        *_whose(config),
        *of_veths,
        *([] if beside is None else [_weighed(beside, config)]),
        *_agent(socket_path, has_uplinks=config is not None and bool(uplinks_of(config))),
        *_running(socket_path, root, config),
        *map(_finding, _probed(root, config, veths)),
    ]


def _finding(found: Capability) -> Finding:
    return Finding(found.name, str(found.state), found.meaning, found.remedy)


def worst_state(findings: Sequence[Finding]) -> str:
    """Return the worst state among the findings; "ok" where there are none."""
    return max((finding.state for finding in findings), key=_SEVERITIES.index, default="ok")


def _configuration(config_path: Path, tenants_dir: Path) -> tuple[Finding, Config | None]:
    try:
        config = read_config(config_path, tenants_dir)
    except ConfigError as error:
        finding = Finding(
            "configuration",
            "missing",
            f"{len(error.problems)} fault(s), the first: {error.problems[0]}",
            "see: tidegate check-config",
        )
        return finding, None
    return Finding("configuration", "ok", f"{len(config.tenants)} tenant(s)", ""), config


def _unenforceable(config: Config | None) -> list[Finding]:
    """Name what is configured to be divided and cannot be limited (rule 8: never silence)."""
    resources = () if config is None else config.resources
    unlimited = [resource for resource in resources if control_of(resource) is None]
    places = dict.fromkeys((resource.kind.group, resource.device) for resource in unlimited)
    return [
        Finding(
            f"{group} {device}".strip() + " limits",
            "missing",
            "configured but not enforceable: they are decided and shown, and nothing writes them",
            _remedy_of_unenforceable(group, device),
        )
        for group, device in places
    ] + _without_network(config)


def _without_network(config: Config | None) -> list[Finding]:
    """Name tenants elsewhere whose packets nothing tells from others'."""
    if config is None or not uplinks_of(config):
        return []
    names = [tenant.name for tenant in config.tenants if not tenant.has_network]
    return [
        Finding(
            f"network of {name}",
            "missing",
            "it lives elsewhere and has no veth: its packets are neither limited nor counted",
            f"veth = in {name}.toml, or let it live below tidegate's own cgroup",
        )
        for name in names
    ]


def _probed(root: Path, config: Config | None, veths: Sequence[str]) -> list[Capability]:
    """Look at the kernel, then at what the configuration asks of it; `veths` were found."""
    if config is None:
        return [*probe(root), *probe_settings(tenants=0)]
    disks = config.disks
    elastic = {r.device for r, mode in config.modes.items() if mode is Mode.ELASTIC}
    return [
        *probe(root),
        *probe_settings(
            tenants=len(config.tenants),
            has_disks=bool(disks),
            has_maxima=any(isfinite(tenant.memory_max_bytes) for tenant in config.tenants),
        ),
        *probe_disks(disks, root, elastic=elastic),
        *probe_links(uplinks_of(config), [*_named_veths(config), *veths]),
    ]


def _remedy_of_unenforceable(group: str, device: str) -> str:
    if group == NETWORK:
        return "name the interface that the bytes pass through, as in [network.eth0]"
    where = ".".join(filter(None, (group, device)))
    return f"take [{where}] out of the host's file, or live with what is only shown"


def _whose(config: Config | None) -> list[Finding]:
    """Say whose cgroups tenants live in, and which containers and machines are no tenant's."""
    if config is None:
        return []
    names, places = tuple(tenant.name for tenant in config.tenants), _places(config)
    return [
        *_owners(config, names, places),
        *unkept_limits(config, places),
        *_of_others(places),
    ]


def _places(config: Config) -> Places:
    names = tuple(tenant.name for tenant in config.tenants)
    return Places(config.host.cgroup_root, names, elsewhere_of(config.tenants))


def _owners(config: Config, names: Sequence[str], places: Places) -> list[Finding]:
    """Say whose cgroups tenants live in, and so who is asked to set their limits."""
    if not names:
        return []
    elsewhere = elsewhere_of(config.tenants)
    own = len(names) - len(elsewhere)
    meaning = f"{own} tenant(s) below {config.host.cgroup_root}, written directly"
    return [
        Finding("owner", "ok", meaning, ""),
        *(
            _owner(name, places, at, elsewhere[name].text, has_disks=bool(config.disks))
            for at, name in enumerate(names)
            if name in elsewhere
        ),
    ]


def _sought_veths(config: Config | None) -> tuple[list[str], list[Finding]]:
    """Return the veths found by tenants' processes, and say whose, and what hides the others'."""
    if config is None or not uplinks_of(config):
        return [], []
    places = _places(config)
    paths = {t.name: places.path(at) for at, t in enumerate(config.tenants) if t.veth == AUTO}
    if not paths:
        return [], []
    try:
        names, problems = sought(
            {k: None if path is None else str(path) for k, path in paths.items()},
            _named_veths(config),
        )
    except OSError as error:
        why = f"cannot be sought ({error.strerror})"
        return [], [Finding("veths", "missing", why, "run as root")]
    return list(names.values()), [
        *(
            Finding(f"veth of {k}", "ok", f"{name}, by its processes", "")
            for k, name in names.items()
        ),
        *(Finding(f"veth of {k}", "degraded", why, _VETH_REMEDY) for k, why in problems.items()),
    ]


def _named_veths(config: Config) -> list[str]:
    return [one.veth for one in config.tenants if one.veth is not None and one.veth != AUTO]


def _of_others(places: Places) -> list[Finding]:
    """Name containers and virtual machines that are no tenant's: nothing of theirs is taken."""
    taken = [path for at in places.elsewhere if (path := places.path(at)) is not None]
    others = [
        path
        for path in made_by_others()
        if not any(path == one or path in one.parents or one in path.parents for one in taken)
    ]
    if not others:
        return []
    named = _some([f"{path.relative_to(MOUNT)} ({maker(path)})" for path in others])
    meaning = f"{len(others)} left alone, since they are no tenants: {named}"
    remedy = f"to limit one: cgroup = '{others[0].relative_to(MOUNT)}' in a tenant's file"
    return [Finding("containers and virtual machines", "ok", meaning, remedy)]


def _owner(name: str, places: Places, at: int, said: str, *, has_disks: bool) -> Finding:
    """Say who owns one tenant's cgroup that is elsewhere, and what that takes from it."""
    path, problem = places.path(at), places.problems.get(at, "")
    if path is None:
        remedy = f"start it, or correct {name}.toml"
        if SEVERAL in problem:
            remedy = f"name one of them in {name}.toml, or give them a slice of their own (unit =)"
        return Finding(f"owner of {name}", "degraded", problem or f"{said} is not there", remedy)
    unit = unit_of(path)
    how = f"systemd's unit {unit}, asked over D-Bus" if unit else "written directly"
    whose = ", ".join(filter(None, (maker(path), how)))
    meaning = f"{path}: {whose}; its cpu.weight is left alone, and no burst is set"
    persistent = [] if unit is None else persistent_settings(unit, has_disks=has_disks)
    if persistent:
        remedy = f"systemctl revert {unit}, or set these in the unit's own file"
        return Finding(
            f"owner of {name}",
            "degraded",
            f"{meaning}; {', '.join(persistent)} outranks "
            "what is set, whenever systemd loads its units anew",
            remedy,
        )
    undone, above = _undone(path)
    if above is not None:
        remedy = f"{_protection(above)}, as much as is to be kept of all below it"
        return Finding(f"owner of {name}", "degraded", f"{meaning}; {undone}", remedy)
    return Finding(f"owner of {name}", "ok", meaning, "")


def _undone(path: Path) -> tuple[str, Path | None]:
    """Say how far memory.low of a cgroup counts for less than it is, and what is above it then."""
    least = weakest(path)
    if least is not None and least[1] <= 0:
        return f"its memory.low is without effect: {least[0]} protects 0 bytes", least[0]
    less = protected_less(path)
    if less is None:
        return "", None
    most, low = (approximate_bytes(amount) for amount in less[1:])
    return f"its memory.low of {low} counts for {most}: {less[0]} protects no more", less[0]


def _protection(above: Path) -> str:
    """Say what protects a cgroup, which systemd sets of its units only."""
    if unit_of(above) is None:
        return f"write to {above}/memory.low"
    return f"systemctl set-property {above.name} MemoryLow=BYTES"


def _weighed(beside: Standing, config: Config | None) -> Finding:
    """Say what part of a busy host all tenants have together, and whether their floors fit in."""
    tenants = () if config is None or config.host.is_observing else config.tenants
    limited = [each for each in tenants if not each.is_observed_only]
    elsewhere = elsewhere_of(tenants)
    floors = [
        each.entitlements[Resource.CPU].floor for each in limited if each.name not in elsewhere
    ]
    cores = 0.0 if config is None else config.machine[Resource.CPU]
    most = weight_under(beside.weight, is_enforcing=bool(limited))
    share = beside.share(beside.weight)
    who = f"all tenants below {OUR_SLICE}" if elsewhere else "all tenants"
    meaning = f"of a busy host {who} together have {share:.0%}, by weight: {beside.text()}"
    if most > beside.weight:
        meaning += f"; {beside.share(most):.0%} once limits are set"
    if sum(floors) <= beside.share(most) * cores:
        return Finding("cpu.weight", "ok", meaning, "")
    meaning += f"; their floors add up to {sum(floors):g} of {cores:g} cores"
    remedy = "lower floors, or raise CPUWeight= of tidegate.slice: systemctl set-property"
    return Finding("cpu.weight", "degraded", meaning, remedy)


def _agent(socket_path: Path, *, has_uplinks: bool) -> list[Finding]:
    """Say how the agent is, and where networks are divided, whether it may do what that takes."""
    try:
        health = msgspec.json.decode(get(socket_path, "/v1/health"), type=Health)
    except AgentError as error:
        return [Finding("agent", "degraded", f"{error}; limits stay as they are", error.hint)]
    allowed = probe_agent(health.pid) if has_uplinks else None
    return [Finding("agent", "ok", health.detail, ""), *map(_finding, [allowed] if allowed else [])]


def _running(socket_path: Path, root: Path, config: Config | None) -> list[Finding]:
    """Say what the agent has of tenants: whether it is what files say, and who has no process.

    Of an agent that does not answer, nothing: that is a finding of its own.
    """
    try:
        tenants = msgspec.json.decode(get(socket_path, "/v1/status"), type=Status).tenants
    except AgentError:
        return []
    return [*([] if config is None else _not_taken_on(tenants, config)), _processes(tenants, root)]


def _not_taken_on(tenants: Sequence[TenantStatus], config: Config) -> list[Finding]:
    """Name tenants whose files the agent has not read yet, as far as names and classes tell."""
    is_host_observed = config.host.is_observing
    told = {one.name: (one.qos, one.is_observed) for one in tenants}
    said = {t.name: (t.qos.name, t.is_observed_only or is_host_observed) for t in config.tenants}
    parts = {
        "new": [name for name in said if name not in told],
        "without a file": [name for name in told if name not in said],
        "of another class or `observe`": [n for n in said if n in told and said[n] != told[n]],
    }
    meaning = "; ".join(f"{what}: {_some(names)}" for what, names in parts.items() if names)
    if not meaning:
        return []
    remedy = "systemctl reload tidegate"
    return [Finding("files", "degraded", f"the agent has not taken them on yet: {meaning}", remedy)]


def _some(names: Sequence[str]) -> str:
    further = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {further} more" if further > 0 else "")


def _processes(tenants: Sequence[TenantStatus], root: Path) -> Finding:
    """Name who has no process: a service that failed to join looks healthy to systemd."""
    empty = [tenant.name for tenant in tenants if "empty" in tenant.states]
    if not empty:
        return Finding("processes", "ok", "no tenant's cgroup is without a process", "")
    meaning = f"{len(empty)} of {len(tenants)} tenant(s) without a process: {_some(empty)}"
    remedy = (
        f"if a service of theirs runs, it is in another cgroup, where nothing is limited: compare "
        f"{root}/{empty[0]}/cgroup.procs with `systemctl show -p MainPID SERVICE`, and see the "
        "service's log for why it could not join"
    )
    return Finding("processes", "degraded", meaning, remedy)


def _cgroup_root(config_path: Path) -> Path:
    """Return where tenants live, the default where the configuration does not say."""
    try:
        return load_host(config_path).cgroup_root
    except ConfigError:
        return HostSettings().cgroup_root
