"""Puts each control file back to what it held right before the agent first wrote it."""

from collections.abc import Collection
from contextlib import ExitStack, closing
from dataclasses import dataclass
from math import isinf

import structlog

from agent.answers import ReleasedValue
from agent.paths import ORIGINALS_NAME
from agent.settings import HostSettings
from agent.sole import AgentRunningError, RootLock, sole_agent
from agent.tenant import Roster
from enforce.columns import Control, Result
from enforce.links.saved import NAME as UPLINKS_NAME
from enforce.links.saved import give_back as put_uplinks_back
from enforce.originals import Originals
from enforce.places import Places
from enforce.restoring import ROOT, Released
from enforce.systemd import GivenBack, give_back

log = structlog.get_logger()

_RESULT_WORDS = {
    Result.APPLIED: "restored",
    Result.HELD_BACK: "held back",
    Result.GONE: "gone",
    Result.REFUSED: "refused",
}


def release(host: HostSettings) -> tuple[list[ReleasedValue], str | None]:
    """Put every recorded value back; return how each went, and what is wrong with the record.

    Raises:
        AgentRunningError: An agent runs here or sets limits for these tenants, and would again.
        OSError: The record of the original values cannot be used.

    """
    with ExitStack() as held:
        held.enter_context(sole_agent(host.runtime_dir))
        if host.cgroup_root.exists():  # locking would make it
            held.enter_context(closing(RootLock(host.cgroup_root)))
        originals = Originals(host.state_dir / ORIGINALS_NAME)
        released = originals.release(host.cgroup_root, memory_margin_bytes=host.margin_bytes)
        units = give_back(host.cgroup_root)
        uplinks = put_uplinks_back(host.state_dir / UPLINKS_NAME, is_sought_everywhere=True)
    values = [
        ReleasedValue(one.cgroup, one.file, one.text, _words(one), one.why) for one in released
    ]
    for uplink in uplinks:
        word = _RESULT_WORDS[Result.REFUSED if uplink.why else Result.APPLIED]
        values.append(ReleasedValue(uplink.uplink, "qdisc", uplink.qdisc, word, uplink.why))
    for unit in units:
        result = Result.REFUSED if unit.why else Result.APPLIED
        word, why = _RESULT_WORDS[result], unit.why or ""
        values.append(ReleasedValue(unit.unit, unit.file, unit.text, word, why))
    return values, originals.problem


def enforced_names(roster: Roster, places: Places, originals: Originals) -> set[str]:
    """Return whose limits are to be set, by the names under which originals are kept.

    A unit that does not run now is still one of them: it will have its limits when it is started.
    """
    names = zip(roster.names, roster.is_observed_only, strict=True)
    enforced = {ROOT}
    for position, (name, is_observed_only) in enumerate(names):
        if not is_observed_only:
            path = places.path(position)
            enforced.add(name if path is None else places.key(str(path)))
            if path is None:
                enforced.update(key for key in originals.cgroups if places.may_be(position, key))
    return enforced


@dataclass(frozen=True, slots=True)
class Unenforced:
    """What files held whose limits are not to be set any more: of all but the `enforced`.

    Those of former tenants, whose empty cgroups go too if tidegate made them; of tenants that are
    only observed; of all and the root, if the host is.  `is_locked` says that the tenants' parent
    is locked already, `was_in_the_way` that something kept it from being put back before.
    """

    originals: Originals
    host: HostSettings
    roster: Roster
    enforced: Collection[str]
    is_locked: bool
    had_tenants: bool
    has_uplinks: bool
    was_in_the_way: bool

    def waiting(self) -> str | None:
        """Say what is to be put back, if anything is."""
        if not self.had_tenants:
            return None
        count = len([name for name in self.originals.cgroups if name not in self._keep])
        return f"{count} cgroup(s) are being put back to what they held" if count else None

    @property
    def _keep(self) -> Collection[str]:
        return () if self.host.is_observing else self.enforced

    def release(self) -> str | None:
        """Put it back; return what could not be, which the next call tries again."""
        if not self.had_tenants:
            return self._left_without_tenants()
        if self.host.is_observing and self.originals.is_empty and not self.was_in_the_way:
            return None
        return self._put_back() or (None if self.has_uplinks else _release_uplinks(self.host))

    def _left_without_tenants(self) -> str | None:
        """Say what an agent leaves as it is that has never had a tenant; None if that is nothing.

        A folder of tenants that is empty at start is more likely not mounted yet than meant.
        """
        if not self.originals.cgroups:
            return None
        problem = (
            f"there has been no tenant since the start, and {len(self.originals.cgroups)} cgroup(s)"
            " hold what was written for tenants: all is left as it is until a reload finds a tenant"
            " (is tenants.d there?), or `tidegate release`"
        )
        log.warning("nothing is put back", problem=problem)
        return problem

    def _put_back(self) -> str | None:
        root, margin_bytes = self.host.cgroup_root, self.host.margin_bytes
        units: list[GivenBack] = []
        try:
            with ExitStack() as held:
                if not self.is_locked and root.exists():  # locking would make it
                    held.enter_context(closing(RootLock(root)))
                released = self.originals.release_others(
                    root,
                    self._keep,
                    cgroups=None if self.host.is_observing else self.roster.names,
                    memory_margin_bytes=margin_bytes,
                )
                released += self.originals.release_file(
                    root,
                    Control.MEMORY_MAX,
                    _unbounded(self.roster),
                    memory_margin_bytes=margin_bytes,
                )
                if self.host.is_observing:
                    units = give_back(root)
        except (AgentRunningError, OSError) as error:
            return f"cannot be put back, or recorded as such ({error})"
        for one in released:
            log.info(
                "no longer limited",
                cgroup=one.cgroup,
                file=one.file,
                value=one.text,
                result=_words(one),
                why=one.why,
            )
        left = [f"{one.cgroup}/{one.file}: {one.why}" for one in released if _is_left(one)]
        return "; ".join([*left, *(unit.why for unit in units if unit.why)]) or None


def _release_uplinks(host: HostSettings) -> str | None:
    """Put uplinks back that are not divided any more; return what could not be."""
    try:
        done = put_uplinks_back(host.state_dir / UPLINKS_NAME)
    except OSError as error:
        return f"uplinks cannot be put back ({error})"
    for one in done:
        log.info("no longer limited", uplink=one.uplink, qdisc=one.qdisc, why=one.why)
    return "; ".join(f"{one.uplink}: {one.why}" for one in done if one.why) or None


def _unbounded(roster: Roster) -> list[str]:
    """Return whose memory.max is not configured, or not any more."""
    most = zip(roster.names, roster.memory_max_bytes, strict=True)
    return [name for name, most_bytes in most if isinf(most_bytes)]


def _is_left(one: Released) -> bool:
    return bool(one.file) and one.result in (Result.REFUSED, Result.HELD_BACK)


def _words(one: Released) -> str:
    """Name a result; a cgroup of ours in which processes live on is kept, which is no failure."""
    if one.file:
        return _RESULT_WORDS[one.result]
    return "removed" if one.result is Result.APPLIED else "kept"
