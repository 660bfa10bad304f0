"""One performance of a scene: programs in their places, told one start, and what they note."""

import subprocess
import sys
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scripts.demo_scene import stage
from scripts.demo_scene.progress import Counters, Progress, wait_until
from scripts.demo_scene.record import Answer
from scripts.demo_scene.visitors import PAIR

_SHARED = Path("/run/tidegate-demo")
_LEAD_S = 0.5  # between the last "ready" and the start that all are told
_EVERY_S = 2.0
_ENTER = 'echo 0 >"$0/cgroup.procs" && exec "$@"'


def in_cgroup(tenant: str) -> tuple[str, ...]:
    """Return what to put before a command, so that it enters its tenant before it is loaded."""
    return ("sh", "-c", _ENTER, str(stage.ROOT / tenant))


class Program:
    """A process of one of this folder's programs, and the page of counters that it shares."""

    def __init__(self, name: str, *arguments: object, where: Sequence[str] = ()) -> None:
        self._progress = Progress(_SHARED / name)
        python = (sys.executable, "-S", "-m", f"scripts.demo_scene.{name}", _SHARED / name)
        self._process = subprocess.Popen([*where, *map(str, (*python, *arguments))])

    def is_ready(self) -> bool:
        """Say whether it waits for its start."""
        return bool(self._progress.read().is_ready)

    def start(self, at_s: float) -> None:
        """Let it begin its work at `at_s`."""
        self._progress.start(at_s)

    def counters(self) -> Counters:
        """Return what it has done so far."""
        return self._progress.read()

    def wait(self) -> None:
        """Wait for its end.

        Raises:
            RuntimeError: It failed.

        """
        if self._process.wait(timeout=stage.PATIENCE_S) != 0:
            raise RuntimeError(f"{self._process.args!r} failed")

    def close(self) -> None:
        """End the process, if it still runs."""
        self._process.kill()
        self._process.wait()


class Requests(Program):
    """A program that makes requests on schedule, and what it has noted of them so far."""

    def __init__(
        self, name: str, arrivals_s: Sequence[float], *arguments: object, where: Sequence[str] = ()
    ) -> None:
        schedule, self._answers = _SHARED / "arrivals", _SHARED / "answers"
        schedule.write_bytes(array("d", arrivals_s).tobytes())
        self._answers.touch()
        super().__init__(name, schedule, self._answers, *arguments, where=where)

    def answers(self) -> list[Answer]:
        """Return all requests that have ended, in the order in which they ended."""
        return [Answer(*pair) for pair in PAIR.iter_unpack(self._answers.read_bytes())]


class Cast:
    """All programs of one performance."""

    def __init__(self) -> None:
        _SHARED.mkdir(parents=True, exist_ok=True)
        for old in _SHARED.iterdir():
            old.unlink()
        self._programs: dict[str, Program] = {}

    def tenants(self, programs: Mapping[str, Sequence[object]]) -> None:
        """Add tenants' programs with their arguments, each in its own cgroup."""
        for name, arguments in programs.items():
            self.add(name, *arguments, where=in_cgroup(name))

    def add(self, name: str, *arguments: object, where: Sequence[str] = ()) -> None:
        """Add one program somewhere else."""
        self._programs[name] = Program(name, *arguments, where=where)

    def requests(
        self, name: str, arrivals_s: Sequence[float], *arguments: object, where: Sequence[str] = ()
    ) -> Requests:
        """Add the program that makes the requests."""
        made = Requests(name, arrivals_s, *arguments, where=where)
        self._programs[name] = made
        return made

    def start(self) -> float:
        """Wait until all programs are ready, then tell them all one start and return its time."""
        programs = self._programs.values()
        stage.wait_for("all programs are ready", lambda: all(p.is_ready() for p in programs))
        start_at_s = time.monotonic() + _LEAD_S
        for program in programs:
            program.start(start_at_s)
        return start_at_s

    def counters(self) -> dict[str, Counters]:
        """Return what each has done so far."""
        return {name: program.counters() for name, program in self._programs.items()}

    def close(self) -> None:
        """End all that still run."""
        for program in self._programs.values():
            program.close()


def beats_s(start_at_s: float, until_s: float) -> Iterator[float]:
    """Wait for each beat of the scene, and yield how long after the start it is."""
    at_s = 0.0
    while at_s < until_s:
        at_s += _EVERY_S
        wait_until(start_at_s + at_s)
        yield at_s
