"""What is asked of systemd: memory.low of tidegate's own units above the tenants, and cpu.weight.

The kernel protects no cgroup beyond what its ancestors are given, and what these are given beyond
the sum of their children it shares out by use (memory_recursiveprot, which systemd mounts with): so
they must hold that sum.  Against the rest of the host tenants have what the slice's weight gives
them: more than a neighbour's only while limits are set, so that observing takes from nobody.
A unit's cgroup belongs to systemd, which is asked to set it.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from enforce.bus import Bus
from enforce.cgroup import CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.columns import DEFAULT_WEIGHT, Control
from enforce.units import UnitWriter

OURS = "tidegate"
OUR_SLICE = "tidegate.slice"
ENFORCING_WEIGHT = 1000.0
_SUFFIXES = (".slice", ".service", ".scope")
_SYSTEMD = Path("/run/systemd/system")
# A sum that moves within this costs no call to systemd.
_SLACK_FRACTION, _SLACK_BYTES = 0.05, 1 << 20


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
    with closing(Bus()) as bus:
        writer = UnitWriter(bus)
        return [_given_back(writer, want) for want in wanted if not want.is_met()]


def _given_back(writer: UnitWriter, want: "_Want") -> GivenBack:
    why = None
    try:
        with TenantCgroup(want.path) as cgroup:
            writer.put(cgroup, {want.file: want.value})
    except (CgroupGoneError, LimitRejectedError) as error:
        why = str(error)
    return GivenBack(want.path.name, want.file, str(int(want.value)), why)


@dataclass(frozen=True, slots=True)
class _Want:
    """What one control file of one of our units should hold: bytes, or a weight."""

    path: Path
    file: Control
    value: float

    def is_met(self) -> bool:
        """Say whether it does, or need not; True also where the cgroup or the file is gone."""
        try:
            with TenantCgroup(self.path) as cgroup:
                return self.is_met_by(cgroup.limit(self.file))
        except (CgroupGoneError, LimitRejectedError):
            return True

    def is_met_by(self, in_force: float) -> bool:
        """Say whether a value will do: a weight of the operator's always does."""
        if self.file is Control.MEMORY_LOW:
            return _is_near(in_force, self.value)
        is_enforcing = self.value == ENFORCING_WEIGHT
        return in_force == weight_under(in_force, is_enforcing=is_enforcing)

    @property
    def roomier_value(self) -> float:
        """Return what to ask for: a sum of memory.low moves, which is not to cost a call each."""
        is_sum = self.file is Control.MEMORY_LOW
        return self.value * (1 + _SLACK_FRACTION / 2) if is_sum else self.value


def _wanted(paths: list[Path], needed_bytes: float, *, is_enforcing: bool) -> list[_Want]:
    weight = weight_under(DEFAULT_WEIGHT, is_enforcing=is_enforcing)
    return [
        *(_Want(path, Control.MEMORY_LOW, needed_bytes) for path in paths),
        *(_Want(path, Control.CPU_WEIGHT, weight) for path in paths if path.name == OUR_SLICE),
    ]


class UnitProtection:
    """Keeps our units above the tenants below `root` at what these need; never waits.

    `writer` asks systemd, beside the ticks.
    """

    def __init__(self, root: Path, writer: UnitWriter) -> None:
        self.paths = own_units(root)
        self._writer = writer
        self._problems: dict[tuple[Path, Control], str] = {}

    def settle(self, needed_bytes: float, *, is_enforcing: bool) -> str | None:
        """Ask for each change that is needed; return what stands in the way, if anything.

        To be called each tick.  What went wrong stands until it is put right.
        """
        for want in _wanted(self.paths, needed_bytes, is_enforcing=is_enforcing):
            key = want.path, want.file
            try:
                if self._is_met(want):
                    self._problems.pop(key, None)
            except CgroupGoneError:
                self._problems.pop(key, None)
            except LimitRejectedError as error:
                self._problems[key] = str(error)
        return "; ".join(dict.fromkeys(self._problems.values())) or None

    def _is_met(self, want: _Want) -> bool:
        """Say whether a file holds what it should, and ask for that where it does not.

        Raises:
            CgroupGoneError: The cgroup is gone.
            LimitRejectedError: systemd cannot be asked, or did not do it a moment ago.

        """
        with TenantCgroup(want.path) as cgroup:
            if not cgroup.has(want.file):
                return True
            in_force = cgroup.limit(want.file)
            if want.is_met_by(in_force):
                return True
            self._writer.offer(cgroup, want.file, want.roomier_value, found=in_force)
        return False


def _is_near(low_bytes: float, needed_bytes: float) -> bool:
    """Say whether a unit's cgroup is given what is needed and little more."""
    most_bytes = needed_bytes * (1 + _SLACK_FRACTION) + _SLACK_BYTES
    # The kernel rounds down to pages.
    return needed_bytes - _SLACK_BYTES <= low_bytes <= most_bytes
