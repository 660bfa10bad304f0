"""The CPU scene's regimes: what each sets before the tenants start, and runs beside them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from agent.settings import DEFAULT_QOS
from scripts.demo_scene import scene, service
from scripts.demo_scene.regime import NO_CONTROL, TIDEGATE, Regime

# The very weights that tidegate gives its classes: same knowledge, without the control.
_CLASS_WEIGHT = {qos.name: qos.weight for qos in DEFAULT_QOS}
_KERNEL_DEFAULT_WEIGHT = 100
_PERIOD_US = 100_000


def _set(cgroup: Path, file: str, value: float) -> None:
    (cgroup / file).write_text(f"{value:.0f}")


@contextmanager
def _static_caps(root: Path) -> Iterator[None]:
    for role in scene.ROLES:
        quota_us = role.share_cores * _PERIOD_US
        (root / role.name / "cpu.max").write_text(f"{quota_us:.0f} {_PERIOD_US}")
        _set(root / role.name, "memory.high", role.share_bytes)
    yield


@contextmanager
def _static_weights(root: Path) -> Iterator[None]:
    for role in scene.ROLES:
        _set(root / role.name, "cpu.weight", _CLASS_WEIGHT[role.qos] * _KERNEL_DEFAULT_WEIGHT)
    yield


REGIMES = (
    NO_CONTROL,
    Regime("static caps", "cpu.max and memory.high fixed at what was sold", _static_caps),
    Regime("static weights", "cpu.weight by QoS class, nothing else", _static_weights),
    replace(TIDEGATE, asked=partial(service.asked, "web", "hog")),
)


def tenant_files() -> dict[str, str]:
    """Return each tenant's file, with the floors that were sold."""
    return {
        role.name: f'qos = "{role.qos}"\n\n'
        f"[cpu]\nfloor_cores = {role.floor_cores}\n\n"
        f"[memory]\nfloor_bytes = {role.floor_bytes}\n"
        for role in scene.ROLES
    }
