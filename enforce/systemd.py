"""What is asked of systemd: memory.low of tidegate's own units above the tenants, and cpu.weight.

The kernel protects no cgroup beyond what its ancestors are given, and what these are given beyond
the sum of their children it shares out by use (memory_recursiveprot, which systemd mounts with): so
they must hold that sum.  Against the rest of the host tenants have what the slice's weight gives
them: more than a neighbour's only while limits are set, so that observing takes from nobody.
A unit's cgroup belongs to systemd, which is asked to set it.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from enforce.cgroup import CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.columns import DEFAULT_WEIGHT, Control

OURS = "tidegate"
OUR_SLICE = "tidegate.slice"
ENFORCING_WEIGHT = 1000.0
_SUFFIXES = (".slice", ".service", ".scope")
_SYSTEMD = Path("/run/systemd/system")
_SYSTEMCTL = "/usr/bin/systemctl"
_PROPERTY = {Control.MEMORY_LOW: "MemoryLow", Control.CPU_WEIGHT: "CPUWeight"}
# A sum that moves within this costs no call to systemd.
_SLACK_FRACTION, _SLACK_BYTES = 0.05, 1 << 20
_CALM_TICKS = 60
_STOP_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class GivenBack:
    """What became of one control file of one of our units; `why` says where it keeps its value."""

    unit: str
    file: Control
    text: str
    why: str | None


def own_units(root: Path) -> list[Path]:
    """Return the cgroups of tidegate's own units, from the outermost down to `root`."""
    if not _SYSTEMD.is_dir():
        return []
    above = (*reversed(root.parents), root)
    return [path for path in above if path.name.startswith(OURS) and path.suffix in _SUFFIXES]


def weight_under(in_force: float, *, is_enforcing: bool) -> float:
    """Return what cpu.weight of our slice should be: a neighbour's, unless limits are set.

    A weight that is neither of ours is the operator's own choice, and stays.
    """
    if in_force not in (DEFAULT_WEIGHT, ENFORCING_WEIGHT):
        return in_force
    return ENFORCING_WEIGHT if is_enforcing else DEFAULT_WEIGHT


def give_back(root: Path) -> list[GivenBack]:
    """Take from our units what enforcing gave them: memory.low, and the slice's weight.

    Returns:
        Each control file that was not as the units have it when nothing is enforced.

    """
    wanted = _wanted(own_units(root), 0.0, is_enforcing=False)
    return [_given_back(want) for want in wanted if not want.is_met()]


def _given_back(want: "_Want") -> GivenBack:
    try:
        why = _Call(want).problem()
    except OSError as error:
        why = want.unasked(error)
    return GivenBack(want.path.name, want.file, want.text, why)


@dataclass(frozen=True, slots=True)
class _Want:
    """What one control file of one of our units should hold: bytes, or a weight."""

    path: Path
    file: Control
    value: float

    @property
    def text(self) -> str:
        return str(int(self.value))

    def is_met(self) -> bool:
        """Say whether it does, or need not; True also where the cgroup or the file is gone."""
        try:
            with TenantCgroup(self.path) as cgroup:
                in_force = cgroup.limit(self.file)
        except (CgroupGoneError, LimitRejectedError):
            return True
        if self.file is Control.MEMORY_LOW:
            return _is_near(in_force, self.value)
        is_enforcing = self.value == ENFORCING_WEIGHT
        return in_force == weight_under(in_force, is_enforcing=is_enforcing)

    def roomier(self) -> "_Want":
        """Return what to ask for: a sum of memory.low moves, which is not to cost a call each."""
        if self.file is not Control.MEMORY_LOW:
            return self
        return _Want(self.path, self.file, self.value * (1 + _SLACK_FRACTION / 2))

    def unasked(self, error: OSError) -> str:
        """Say that systemd could not even be asked."""
        return f"{self.path.name}: systemd cannot be asked for {self.named}: {error.strerror}"

    @property
    def named(self) -> str:
        return _PROPERTY[self.file]


def _wanted(paths: list[Path], needed_bytes: float, *, is_enforcing: bool) -> list[_Want]:
    weight = weight_under(DEFAULT_WEIGHT, is_enforcing=is_enforcing)
    return [
        *(_Want(path, Control.MEMORY_LOW, needed_bytes) for path in paths),
        *(_Want(path, Control.CPU_WEIGHT, weight) for path in paths if path.name == OUR_SLICE),
    ]


class UnitProtection:
    """Keeps our units above the tenants below `root` at what these need; never waits."""

    def __init__(self, root: Path) -> None:
        self.paths = own_units(root)
        self._call: _Call | None = None
        self._calm_ticks = 0
        self._problem: str | None = None
        self._failed: tuple[Path, Control] | None = None

    def settle(self, needed_bytes: float, *, is_enforcing: bool) -> str | None:
        """Start the next change that is needed; return what stands in the way, if anything.

        To be called each tick.  At most one call to systemd is under way, and after one that
        failed the next waits for a minute of ticks.
        """
        if self._call is not None and self._call.is_running:
            return self._problem
        if self._call is not None:
            self._ended(self._call.want, self._call.problem())
        if self._calm_ticks > 0:
            self._calm_ticks -= 1
            return self._problem
        wanted = _wanted(self.paths, needed_bytes, is_enforcing=is_enforcing)
        # What failed last comes last: it must not keep the others from being asked for.
        wanted.sort(key=lambda want: (want.path, want.file) == self._failed)
        wrong = next((want for want in wanted if not want.is_met()), None)
        if wrong is not None:
            try:
                self._call = _Call(wrong.roomier())
            except OSError as error:
                self._ended(wrong, wrong.unasked(error))
        return self._problem

    def _ended(self, want: _Want, problem: str | None) -> None:
        self._call, self._problem = None, problem
        self._calm_ticks = _CALM_TICKS if problem else 0
        self._failed = (want.path, want.file) if problem else None

    def close(self) -> None:
        """Wait a moment for the call that is under way, if one is, and then end it.

        Ticks wait for this at a reload: systemd may be slow, and whoever comes next asks again.
        """
        if self._call is not None:
            self._call.end(_STOP_WAIT_S)


class _Call:
    """One request to systemd under way, and what to expect of it.

    Raises:
        OSError: No process can be started now.

    """

    def __init__(self, want: _Want) -> None:
        self.want = want
        self._process = subprocess.Popen(  # noqa: S603 - a unit of ours and a number
            [_SYSTEMCTL, "set-property", "--runtime", want.path.name, f"{want.named}={want.text}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def problem(self) -> str | None:
        """Wait for the end; say what went wrong, by systemd's word or by the kernel's file."""
        _, said = self._process.communicate()
        want = self.want
        if self._process.returncode != 0:
            return f"{want.path.name}: systemd refused {want.named}: {said.strip()}"
        if not want.is_met():
            return f"{want.path.name}: systemd took {want.named}, but {want.file} is another"
        return None

    def end(self, most_s: float) -> None:
        """Wait for the end at most so long; then do without an answer."""
        try:
            self._process.communicate(timeout=most_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()  # not for the end of its output: a helper of its may hold that
            if self._process.stderr is not None:
                self._process.stderr.close()


def _is_near(low_bytes: float, needed_bytes: float) -> bool:
    """Say whether a unit's cgroup is given what is needed and little more."""
    most_bytes = needed_bytes * (1 + _SLACK_FRACTION) + _SLACK_BYTES
    # The kernel rounds down to pages.
    return needed_bytes - _SLACK_BYTES <= low_bytes <= most_bytes
