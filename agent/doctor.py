"""Examines the host, the configuration and the agent, and puts the findings in one list."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from agent.answers import Finding, Health
from agent.client import AgentError, get
from agent.config import ConfigError, load_host
from agent.host import read_config
from agent.settings import HostSettings
from enforce.capability import probe

_SEVERITIES = ("ok", "degraded", "missing")


def examined(config_path: Path, tenants_dir: Path, socket_path: Path) -> list[Finding]:
    """Return what was found of the configuration, the agent and the kernel, in this order."""
    return [
        _configuration(config_path, tenants_dir),
        _agent(socket_path),
        *(
            Finding(found.name, str(found.state), found.meaning, found.remedy)
            for found in probe(_cgroup_root(config_path))
        ),
    ]


def worst_state(findings: Sequence[Finding]) -> str:
    """Return the worst state among the findings; "ok" where there are none."""
    return max((finding.state for finding in findings), key=_SEVERITIES.index, default="ok")


def _configuration(config_path: Path, tenants_dir: Path) -> Finding:
    try:
        config = read_config(config_path, tenants_dir)
    except ConfigError as error:
        return Finding(
            "configuration",
            "missing",
            f"{len(error.problems)} fault(s), the first: {error.problems[0]}",
            "see: tidegate check-config",
        )
    return Finding("configuration", "ok", f"{len(config.tenants)} tenant(s)", "")


def _agent(socket_path: Path) -> Finding:
    try:
        health = msgspec.json.decode(get(socket_path, "/v1/health"), type=Health)
    except AgentError as error:
        return Finding("agent", "degraded", f"{error}; limits stay as they are", error.hint)
    return Finding("agent", "ok", health.detail, "")


def _cgroup_root(config_path: Path) -> Path:
    """Return where tenants live, the default where the configuration does not say."""
    try:
        return load_host(config_path).cgroup_root
    except ConfigError:
        return HostSettings().cgroup_root
