"""One performance of the scene: every tenant's process in its cgroup, the visitors outside."""

import struct
import subprocess
import sys
import time
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.demo_scene import scene, stage
from scripts.demo_scene.progress import Counters, Progress
from scripts.demo_scene.record import Answer, Costs

_SHARED = Path("/run/tidegate-demo")
_LEAD_S = 0.5  # between the last "ready" and the start that all are told
_ENTER = 'echo 0 >"$0/cgroup.procs" && exec "$@"'
_PAIR = struct.Struct("=2d")

Process = subprocess.Popen[bytes]


WEB_PROGRAM = {"web": (stage.WEB_FILE,)}


def programs(costs: Costs) -> dict[str, Sequence[object]]:
    """Return every tenant's program with its arguments, by the tenant's name."""
    return {
        **WEB_PROGRAM,
        "report": (
            round(scene.REPORT_CORE_S / costs.chunk_core_s),
            scene.REPORT_EVERY_S,
            scene.REPORT_WITHIN_S,
        ),
        "hog": (),
        "eater": (stage.SCAN_FILE, scene.SCAN_TABLE_BYTES, scene.SCAN_BYTES_PER_S),
    }


class Tenants:
    """The tenants' processes, each in its own cgroup, and the counters that they share."""

    def __init__(self, programs: Mapping[str, Sequence[object]]) -> None:
        _clear()
        self.progress = {name: Progress(_SHARED / name) for name in programs}
        self._processes = [_process(n, *words, into=n) for n, words in programs.items()]

    def counters(self) -> dict[str, Counters]:
        """Return what each tenant has done so far."""
        return {name: progress.read() for name, progress in self.progress.items()}

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.kill()
            process.wait()


class Visitors:
    """The process that plays the visitors, and what it has noted of them so far."""

    def __init__(self, arrivals_s: Sequence[float]) -> None:
        schedule, self._answers = _SHARED / "arrivals", _SHARED / "answers"
        schedule.write_bytes(array("d", arrivals_s).tobytes())
        self._answers.touch()
        self.progress = Progress(_SHARED / "visitors")
        self._process = _process("visitors", schedule, self._answers, scene.REQUEST_TIMEOUT_S)

    def answers(self) -> list[Answer]:
        """Return all requests that have ended, in the order in which they ended."""
        return [Answer(*pair) for pair in _PAIR.iter_unpack(self._answers.read_bytes())]

    def wait(self) -> None:
        """Wait for the last answer.

        Raises:
            RuntimeError: The visitors' process failed.

        """
        if self._process.wait(timeout=stage.PATIENCE_S) != 0:
            raise RuntimeError("the process that plays the visitors failed")

    def close(self) -> None:
        """End the process, if it still runs."""
        self._process.kill()
        self._process.wait()


def start(pages: Sequence[Progress]) -> float:
    """Wait until all programs are ready, then tell them all one start and return its time."""
    stage.wait_for("all programs are ready", lambda: all(p.read().is_ready for p in pages))
    start_at_s = time.monotonic() + _LEAD_S
    for page in pages:
        page.start(start_at_s)
    return start_at_s


def _clear() -> None:
    _SHARED.mkdir(parents=True, exist_ok=True)
    for old in _SHARED.iterdir():
        old.unlink()


def _process(program: str, *arguments: object, into: str | None = None) -> Process:
    """Start one of this folder's programs; it enters its tenant's cgroup before it is loaded."""
    python = (sys.executable, "-S", "-m", f"scripts.demo_scene.{program}", _SHARED / program)
    command = [str(word) for word in (*python, *arguments)]
    if into is None:
        return subprocess.Popen(command)
    return subprocess.Popen(["sh", "-c", _ENTER, str(stage.ROOT / into), *command])
