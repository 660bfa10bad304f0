"""The disk's scene: a volume with a quota of bytes read a second, as cloud providers sell them.

The quota is the CPU scene's: io.max of the cgroup above all tenants, within which the kernel lets
tenants take turns, request by request.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from math import inf
from pathlib import Path

from scripts.demo_scene import stage
from scripts.demo_scene.play import Cast, Requests, in_cgroup
from scripts.demo_scene.rate_play import Act
from scripts.demo_scene.rates import Limit, Part, RateScene
from scripts.demo_scene.scene import DISK_READ_BYTES_PER_S as CARRIES
from scripts.demo_scene.scene import MIB

DIVIDED = 0.97 * CARRIES
PART_BYTES, READERS = MIB, 8

DB = Part("db", "platinum", 5 * MIB, 48 * MIB, "reads 4 KiB here and there")
BATCH = Part("batch", "silver", 10 * MIB, 64 * MIB, f"reads all that it can, {READERS} MiB at once")


def act(device: Path) -> Act:
    """Return how the scene is staged on a disk, which the stage has prepared."""

    @contextmanager
    def capped(root: Path) -> Iterator[None]:
        for part in (DB, BATCH):
            line = f"{_number(device)} rbps={part.share_bytes_per_s}"
            (root / part.name / "io.max").write_text(line)
        yield

    def sent_bytes(_cast: Cast, _answered: int) -> dict[str, float]:
        return {part.name: said(part, "io.stat", "rbytes", 0.0) for part in (DB, BATCH)}

    def limits() -> dict[str, Limit]:
        return {part.name: Limit(said(part, "io.max", "rbps", inf)) for part in (DB, BATCH)}

    def said(part: Part, file: str, key: str, otherwise: float) -> float:
        text = (stage.ROOT / part.name / file).read_text()
        return of_device(text, _number(device), key, otherwise)

    return Act(
        name="disk",
        scene=_scene(device.name),
        host_table=f"\n[disk.{device.name}]\nread_capacity_bytes_per_s = {DIVIDED}\n",
        tenant_table="[disk]\nread_floor_bytes_per_s = {floor}\n",
        laid=nullcontext,
        caps="io.max",
        capped=capped,
        enter=enter,
        sent_bytes=sent_bytes,
        limits=limits,
    )


def enter(cast: Cast, arrivals_s: Sequence[float]) -> Requests:
    """Add both tenants; the database makes its own requests."""
    cast.tenants({"batch": (stage.SCAN_FILE, PART_BYTES, READERS)})
    return cast.requests("db", arrivals_s, stage.WEB_FILE, where=in_cgroup("db"))


def of_device(text: str, number: str, key: str, otherwise: float) -> float:
    """Return a number of one device's line in a file such as io.stat; `otherwise` if not there."""
    for line in text.splitlines():
        which, *words = line.split()
        if which == number:
            value = dict(word.split("=") for word in words).get(key, "max")
            return otherwise if value == "max" else float(value)
    return otherwise


def _number(device: Path) -> str:
    return Path(f"/sys/class/block/{device.name}/dev").read_text().strip()


def _scene(device: str) -> RateScene:
    return RateScene(
        title=f"The disk: two tenants on a volume of {CARRIES / MIB:.0f} MiB read a second",
        resource=f"disk_read:{device}",
        unit="MiB/s",
        unit_bytes_per_s=MIB,
        carries_bytes_per_s=CARRIES,
        limits="io.max rbps",
        small=DB,
        bulk=BATCH,
    )
