"""A regime: a way to share the host, in force over the tenants' cgroups while a scene is played."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from scripts.demo_scene import service


@dataclass(frozen=True, slots=True)
class Regime:
    """What is set before the tenants start, and what runs beside them."""

    name: str
    says: str
    over: Callable[[Path], AbstractContextManager[object]]
    asked: Callable[[], tuple[bytes, ...]] = tuple  # what the regime says of itself, as JSON


NO_CONTROL = Regime("no control", "the kernel's defaults: every cgroup the same", nullcontext)
TIDEGATE = Regime(
    "tidegate", "the service, its periods scaled to seconds", service.running, service.asked
)
