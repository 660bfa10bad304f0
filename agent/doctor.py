"""Examines the host, the configuration and the agent, and puts the findings in one list."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from agent.answers import Finding, Health, Status
from agent.client import AgentError, get
from agent.config import ConfigError, load_host
from agent.controls import control_of
from agent.host import read_config
from agent.policy import uplinks_of
from agent.sections import NETWORK
from agent.settings import Config, HostSettings
from agent.tenant import Resource
from enforce.capability import probe
from enforce.disks import disk_number
from enforce.links.probing import probe_links
from enforce.neighbours import Standing, standing
from enforce.systemd import weight_under

_SEVERITIES = ("ok", "degraded", "missing")
_MOST_NAMED = 5


def examined(config_path: Path, tenants_dir: Path, socket_path: Path) -> list[Finding]:
    """Return what was found of the configuration, the agent and the kernel, in this order."""
    configuration, config = _configuration(config_path, tenants_dir)
    root = _cgroup_root(config_path)
    beside = standing(root)
    return [
        configuration,
        *_unenforceable(config),
        *([] if beside is None else [_weighed(beside, config)]),
        _agent(socket_path),
        *_tenants(socket_path, root),
        *(
            Finding(found.name, str(found.state), found.meaning, found.remedy)
            for found in (*probe(root), *probe_links([] if config is None else uplinks_of(config)))
        ),
    ]


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
    ] + [
        Finding(f"disk {name}", "missing", "there is no such disk: nothing is counted", "lsblk -d")
        for name in ([] if config is None else config.disks)
        if disk_number(name) is None
    ]


def _remedy_of_unenforceable(group: str, device: str) -> str:
    if group == NETWORK:
        return "name the interface that the bytes pass through, as in [network.eth0]"
    where = ".".join(filter(None, (group, device)))
    return f"take [{where}] out of the host's file, or live with what is only shown"


def _weighed(beside: Standing, config: Config | None) -> Finding:
    """Say what part of a busy host all tenants have together, and whether their floors fit in."""
    tenants = () if config is None or config.host.is_observing else config.tenants
    floors = [
        each.entitlements[Resource.CPU].floor for each in tenants if not each.is_observed_only
    ]
    cores = 0.0 if config is None else config.machine[Resource.CPU]
    most = weight_under(beside.weight, is_enforcing=bool(floors))
    share = beside.share(beside.weight)
    meaning = f"of a busy host all tenants together have {share:.0%}, by weight: {beside.text()}"
    if most > beside.weight:
        meaning += f"; {beside.share(most):.0%} once limits are set"
    if sum(floors) <= beside.share(most) * cores:
        return Finding("cpu.weight", "ok", meaning, "")
    meaning += f"; their floors add up to {sum(floors):g} of {cores:g} cores"
    remedy = "lower floors, or raise CPUWeight= of tidegate.slice: systemctl set-property"
    return Finding("cpu.weight", "degraded", meaning, remedy)


def _agent(socket_path: Path) -> Finding:
    try:
        health = msgspec.json.decode(get(socket_path, "/v1/health"), type=Health)
    except AgentError as error:
        return Finding("agent", "degraded", f"{error}; limits stay as they are", error.hint)
    return Finding("agent", "ok", health.detail, "")


def _tenants(socket_path: Path, root: Path) -> list[Finding]:
    """Name the tenants without a process: a service that failed to join looks healthy to systemd.

    Of an agent that does not answer, nothing: that is a finding of its own.
    """
    try:
        tenants = msgspec.json.decode(get(socket_path, "/v1/status"), type=Status).tenants
    except AgentError:
        return []
    empty = [tenant.name for tenant in tenants if "empty" in tenant.states]
    if not empty:
        return [Finding("processes", "ok", "no tenant's cgroup is without a process", "")]
    further = len(empty) - _MOST_NAMED
    named = ", ".join(empty[:_MOST_NAMED]) + (f" and {further} more" if further > 0 else "")
    meaning = f"{len(empty)} of {len(tenants)} tenant(s) without a process: {named}"
    remedy = (
        f"if a service of theirs runs, it is in another cgroup, where nothing is limited: compare "
        f"{root}/{empty[0]}/cgroup.procs with `systemctl show -p MainPID SERVICE`, and see the "
        "service's log for why it could not join"
    )
    return [Finding("processes", "degraded", meaning, remedy)]


def _cgroup_root(config_path: Path) -> Path:
    """Return where tenants live, the default where the configuration does not say."""
    try:
        return load_host(config_path).cgroup_root
    except ConfigError:
        return HostSettings().cgroup_root
