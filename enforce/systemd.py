"""What is asked of systemd: memory.low of tidegate's own units, which stand above the tenants.

The kernel protects no cgroup beyond what its ancestors are given, and what these are given beyond
the sum of their children it shares out by use (memory_recursiveprot, which systemd mounts with): so
they must hold that sum.  A unit's cgroup belongs to systemd, which is asked to set it.
"""

import subprocess
from pathlib import Path

from enforce.cgroup import CgroupGoneError, LimitRejectedError, TenantCgroup

OURS = "tidegate"
_SUFFIXES = (".slice", ".service", ".scope")
_SYSTEMD = Path("/run/systemd/system")
_SYSTEMCTL = "/usr/bin/systemctl"
# A sum that moves within this costs no call to systemd.
_SLACK_FRACTION, _SLACK_BYTES = 0.05, 1 << 20
_CALM_TICKS = 60
_STOP_WAIT_S = 1.0


def own_units(root: Path) -> list[Path]:
    """Return the cgroups of tidegate's own units, from the outermost down to `root`."""
    if not _SYSTEMD.is_dir():
        return []
    above = (*reversed(root.parents), root)
    return [path for path in above if path.name.startswith(OURS) and path.suffix in _SUFFIXES]


def unprotect(root: Path) -> list[tuple[Path, str | None]]:
    """Take memory.low from our units that have some, as before the first start.

    Returns:
        Each such unit's cgroup, with the reason where it keeps its value.

    """
    return [(path, _unprotected(path)) for path in own_units(root) if not _is_near(path, 0)]


def _unprotected(path: Path) -> str | None:
    try:
        return _Call(path, 0.0).problem()
    except OSError as error:
        return _unasked(path, error)


class UnitProtection:
    """Keeps memory.low of our units at what the tenants below `root` need; never waits."""

    def __init__(self, root: Path) -> None:
        self.paths = own_units(root)
        self._call: _Call | None = None
        self._calm_ticks = 0
        self._problem: str | None = None

    def settle(self, needed_bytes: float) -> str | None:
        """Start the next change that is needed; return what stands in the way, if anything.

        To be called each tick.  At most one call to systemd is under way, and after one that
        failed the next waits for a minute of ticks.
        """
        if self._call is not None and self._call.is_running:
            return self._problem
        if self._call is not None:
            self._problem, self._call = self._call.problem(), None
            self._calm_ticks = _CALM_TICKS if self._problem else 0
        if self._calm_ticks > 0:
            self._calm_ticks -= 1
            return self._problem
        wrong = next((path for path in self.paths if not _is_near(path, needed_bytes)), None)
        if wrong is not None:
            try:
                self._call = _Call(wrong, needed_bytes * (1 + _SLACK_FRACTION / 2))
            except OSError as error:
                self._problem, self._calm_ticks = _unasked(wrong, error), _CALM_TICKS
        return self._problem

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

    def __init__(self, path: Path, wanted_bytes: float) -> None:
        self._path, self._wanted_bytes = path, wanted_bytes
        value = f"MemoryLow={int(wanted_bytes)}"
        self._process = subprocess.Popen(  # noqa: S603 - a unit of ours and a number
            [_SYSTEMCTL, "set-property", "--runtime", path.name, value],
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
        if self._process.returncode != 0:
            return f"{self._path.name}: systemd refused MemoryLow: {said.strip()}"
        if not _is_near(self._path, self._wanted_bytes):
            return f"{self._path.name}: systemd took MemoryLow, but memory.low is another"
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


def _unasked(path: Path, error: OSError) -> str:
    return f"{path.name}: systemd cannot be asked for MemoryLow: {error.strerror}"


def _is_near(path: Path, needed_bytes: float) -> bool:
    """Say whether a unit's cgroup is given what is needed and little more; True if it is gone."""
    try:
        with TenantCgroup(path) as cgroup:
            low_bytes = cgroup.memory_low
    except (CgroupGoneError, LimitRejectedError):
        return True
    most_bytes = needed_bytes * (1 + _SLACK_FRACTION) + _SLACK_BYTES
    # The kernel rounds down to pages.
    return needed_bytes - _SLACK_BYTES <= low_bytes <= most_bytes
