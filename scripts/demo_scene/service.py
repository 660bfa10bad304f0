"""The last regime: tidegate as an operator has it, a systemd service with its config files."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
from click import unstyle

from agent.answers import Explanation, Status
from agent.client import get
from agent.paths import CONFIG_PATH, RUNTIME_DIR, SOCKET_NAME, TENANTS_DIR_NAME
from agent.render import explanation_lines, resource_lines, status_lines
from scripts.demo_scene import scene, stage

UNIT = "tidegate.service"
_STATUS, _TENANT = "/v1/status", "/v1/tenants/"
_DROP_INS = Path(f"/etc/systemd/system/{UNIT}.d")
_NETWORK_CONF = Path("/usr/local/lib/tidegate/network.conf")
_SOCKET = RUNTIME_DIR / SOCKET_NAME

# Everything that takes minutes to hours on a real host takes seconds here; the rest is default.
HOST_FILE = f"""\
[host]
memory_capacity_bytes = {scene.HOST_MEMORY_BYTES}
memory_reserve_bytes = 0
memory_margin_bytes = "4M"

[periods]
tick_s = 0.5
step_s = 1
horizon_s = 10
refit_s = 12
learning_s = 4

[qos.platinum]
weight = 8
risk_aversion = 0.9
emergency_rank = 0
burst_s = 30

[qos.gold]
weight = 4
risk_aversion = 0.6
emergency_rank = 1
burst_s = 12

[qos.silver]
weight = 1
risk_aversion = 0.2
emergency_rank = 2
burst_s = 6
"""


def configure(tenants: Mapping[str, str], *, divided: str = "") -> None:
    """Write one file a tenant, and the host's; `divided` is what it divides but cpu and memory."""
    CONFIG_PATH.write_text(HOST_FILE + divided)
    folder = CONFIG_PATH.parent / TENANTS_DIR_NAME
    for former in folder.glob("*.toml"):
        former.unlink()
    for name, text in tenants.items():
        (folder / f"{name}.toml").write_text(text)


@contextmanager
def network_allowed() -> Iterator[None]:
    """Give the service what it takes to limit the network, as docs/network.md says."""
    _DROP_INS.mkdir(parents=True, exist_ok=True)
    drop_in = _DROP_INS / _NETWORK_CONF.name
    drop_in.write_text(_NETWORK_CONF.read_text())
    stage.run("systemctl", "daemon-reload")
    try:
        yield
    finally:
        drop_in.unlink()
        stage.run("systemctl", "daemon-reload")


@contextmanager
def running(_root: Path) -> Iterator[None]:
    """Start the service and wait until it also forecasts; afterwards undo what it did."""
    try:
        stage.run("systemctl", "start", UNIT)
    except RuntimeError as error:
        said = stage.run("journalctl", f"--unit={UNIT}", "--output=cat", "--no-pager", "-n20")
        raise RuntimeError(f"{error}\n{said}") from error
    try:
        stage.wait_for("the forecaster is live", _is_live)
        yield
    finally:
        stage.run("systemctl", "stop", UNIT)
        stage.run("tidegate", "release")


def asked(*explained: str) -> tuple[bytes, ...]:
    """Return the agent's status and its explanations of some tenants, as it sends them."""
    return tuple(get(_SOCKET, target) for target in (_STATUS, *(_TENANT + n for n in explained)))


def shown(answers: tuple[bytes, ...], *, width: int, resource: str | None = None) -> list[str]:
    """Return what `tidegate status` and `tidegate explain` make of `answers`."""
    status, *explanations = answers
    found = msgspec.json.decode(status, type=Status)
    if resource is None:
        lines = ["$ tidegate status", *status_lines(found, width=width)]
    else:
        lines = [f"$ tidegate status --resource {resource}"]
        lines += resource_lines(found, resource, width=width)
    for answer in explanations:
        explained = msgspec.json.decode(answer, type=Explanation)
        lines += ["", f"$ tidegate explain {explained.tenant.name}"]
        lines += explanation_lines(explained, width=width)
    return [unstyle(line) for line in lines]


def _is_live() -> bool:
    status = msgspec.json.decode(get(_SOCKET, _STATUS), type=Status)
    return status.host.forecaster == "live"
