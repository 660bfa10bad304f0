"""The four regimes: what each sets before the tenants start, and what it runs beside them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from agent.settings import DEFAULT_QOS
from scripts.demo_scene import scene, service

# The very weights that tidegate gives its classes: same knowledge, without the control.
_CLASS_WEIGHT = {qos.name: qos.weight for qos in DEFAULT_QOS}
_KERNEL_DEFAULT_WEIGHT = 100
_PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class Regime:
    """A way to share the host; `over` holds it in force over the tenants' cgroups."""

    name: str
    says: str
    over: Callable[[Path], AbstractContextManager[object]]
    asked: Callable[[], tuple[bytes, ...]] = tuple  # what the regime says of itself, as JSON


def _set(cgroup: Path, file: str, value: float) -> None:
    (cgroup / file).write_text(f"{value:.0f}")


def _no_control(root: Path) -> AbstractContextManager[object]:
    return nullcontext(root)


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
    Regime("no control", "the kernel's defaults: every cgroup the same", _no_control),
    Regime("static caps", "cpu.max and memory.high fixed at what was sold", _static_caps),
    Regime("static weights", "cpu.weight by QoS class, nothing else", _static_weights),
    Regime(
        "tidegate", "the service, its periods scaled to seconds", service.running, service.asked
    ),
)
