"""The fourth regime: tidegate as an operator has it, a systemd service with its config files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from click import unstyle

from agent.answers import Explanation, Status
from agent.client import get
from agent.paths import CONFIG_PATH, RUNTIME_DIR, SOCKET_NAME, TENANTS_DIR_NAME
from agent.render import explanation_lines, status_lines
from scripts.demo_scene import scene, stage

UNIT = "tidegate.service"
EXPLAINED = ("web", "hog")
_STATUS, _TENANT = "/v1/status", "/v1/tenants/"
_SOCKET = RUNTIME_DIR / SOCKET_NAME

# Everything that takes minutes to hours on a real host takes seconds here; the rest is default.
_HOST_FILE = f"""\
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


def configure() -> None:
    """Write the host's file and one a tenant, with the floors that were sold."""
    CONFIG_PATH.write_text(_HOST_FILE)
    for role in scene.ROLES:
        (CONFIG_PATH.parent / TENANTS_DIR_NAME / f"{role.name}.toml").write_text(
            f'qos = "{role.qos}"\n\n'
            f"[cpu]\nfloor_cores = {role.floor_cores}\n\n"
            f"[memory]\nfloor_bytes = {role.floor_bytes}\n"
        )


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


def asked() -> tuple[bytes, ...]:
    """Return the agent's status and its explanation of two tenants, as it sends them."""
    return tuple(get(_SOCKET, target) for target in (_STATUS, *(_TENANT + n for n in EXPLAINED)))


def shown(answers: tuple[bytes, ...], *, width: int) -> list[str]:
    """Return what `tidegate status` and `tidegate explain` made of `answers`."""
    status, *explanations = answers
    lines = ["$ tidegate status"]
    lines += status_lines(msgspec.json.decode(status, type=Status), width=width)
    for name, answer in zip(EXPLAINED, explanations, strict=True):
        explained = msgspec.json.decode(answer, type=Explanation)
        lines += ["", f"$ tidegate explain {name}", *explanation_lines(explained, width=width)]
    return [unstyle(line) for line in lines]


def _is_live() -> bool:
    status = msgspec.json.decode(get(_SOCKET, _STATUS), type=Status)
    return status.host.forecaster == "live"
