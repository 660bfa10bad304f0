"""The calendar: raises profiles before known events start, and learns from those that have been.

It joins the pure parts to the clock, and to the process that works out further occurrences.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import structlog

from agent.absorbed import STEPS_KEPT, Absorption, borne_out, usual_after
from agent.agenda import Agenda
from agent.coming import Coming, Concerned, concerned
from agent.event import EventSource, Expansion, Occurrence
from agent.learned_store import LearnedStore
from agent.lessons import Lessons
from agent.tenant import Bools, Floats, Ints, Resource, Roster, carried_over
from agent.uplift import Lift, Windows, ahead_of
from agent.watches import WATCHED_S
from forecast.profile import Profile

log = structlog.get_logger()

# Two days are worked out at a time; what is left after this is for when that fails.
_TOP_UP_S, _RETRY_S = 6 * 3600.0, 600.0
_NEAR_S = 3600.0  # beyond the windows: columns are of what is near, made anew within that time
_MOST_ENTRIES = 400_000  # occurrences x series, of some 100 bytes
_CLOCK_SET_S, _CLOCK_DRIFT = 5.0, 0.01  # wall and monotonic clock differ by more: it was set

# Of which sources, from when on (UNIX time), and whether it is still wanted.
Expanding = Callable[[Sequence[EventSource], float, Callable[[], bool]], Expansion]


@dataclass(frozen=True, slots=True)
class CalendarPlan:
    """What a configuration says of events."""

    windows: Windows
    step_s: float
    sources: tuple[EventSource, ...] = ()
    expansion: Expansion = field(default_factory=Expansion)
    regions: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of each tenant


@dataclass(frozen=True, slots=True)
class _Entries:
    """Columns of what is near, until `until_s`."""

    coming: Coming
    is_learned: Bools
    near: Sequence[Occurrence]
    since_s: float
    until_s: float


class Calendar:
    """Adjusts profiles to events; see `agent.ports.Adjusting`.  `clock` returns UNIX time."""

    def __init__(
        self,
        plan: CalendarPlan,
        roster: Roster,
        foreseen: Sequence[Resource],
        *,
        clock: Callable[[], float],
        store: LearnedStore,
        expand: Expanding,
    ) -> None:
        self._roster, self._foreseen = roster, tuple(foreseen)
        self._clock, self._expand = clock, expand
        self._lessons = Lessons(roster, foreseen, store)
        self._concerned: Sequence[Concerned] = ()
        self._entries: _Entries | None = None
        self.agenda: Agenda | None = None  # of the last tick
        self._before: Profile | None = None  # as it was last asked for, and as it was raised
        self._after: Profile | None = None
        self._further: _Further | None = None
        self._left_out = 0
        self._last: tuple[float, float] | None = None  # wall and monotonic time of the last tick
        series = len(roster) * len(self._foreseen)
        self._on, self._on_total, self._on_s = np.ones(series), np.zeros(series), 0.0
        self._follow(plan)
        self._absorption = self._seen(0)
        self._usual = np.full(series, np.nan)  # demand without what is on
        self._told = np.ones(series)  # what was on in the last step
        self._begin_retrying()

    @property
    def problem(self) -> str | None:
        """Return why events to come are not known or not followed, None where they are."""
        if self._left_out:
            return f"{self._left_out} of what is on at once, of too many tenants, are left out"
        return next(iter(self._expansion.told(self._plan.sources)), None)

    def replan(self, plan: CalendarPlan) -> None:
        """Go on under another configuration; `rearrange` follows where tenants differ too."""
        before = self._on_now()
        if self._further is not None:
            self._further.is_wanted = self._further.sources is plan.sources
        self._follow(plan)
        self._have_seen(self._on_now() != before)
        self._begin_retrying()

    def _have_seen(self, is_changed: Bools) -> None:
        """Let models of these series have seen what is on: it may be on for long."""
        on = self._on_now()
        seen = self._seen(self._absorption.step)
        self._absorption = self._absorption.with_seen(is_changed, seen)
        self._on = np.where(is_changed, on, self._on)
        self._on_total = np.where(is_changed, on * self._on_s, self._on_total)

    def _begin_retrying(self) -> None:
        _log_problems(self._expansion.told(self._plan.sources))
        self._retry_in_s = _RETRY_S
        self._retry_at_s = self._clock() + self._retry_in_s

    def _on_now(self) -> Floats:
        wall_s = self._clock()
        return self._near(wall_s).coming.largest(wall_s, wall_s)

    def _seen(self, step: int) -> Absorption:
        """Return what profiles have absorbed that have seen the last steps, up to this one."""
        wall_s = self._clock()
        coming = self._near(wall_s).coming
        return Absorption.seen(coming, wall_s, step_s=self._plan.step_s, step=step)

    def _follow(self, plan: CalendarPlan) -> None:
        self._plan, self._expansion = plan, plan.expansion
        self._concerned = concerned(plan.sources, self._roster, self._foreseen, plan.regions)
        self._forget()

    def rearrange(self, roster: Roster, foreseen: Sequence[Resource], positions: Ints) -> None:
        """Go on with other series; -1 is a newcomer."""
        self._roster, self._foreseen = roster, tuple(foreseen)
        self._lessons.rearrange(roster, foreseen, positions)
        self._absorption = self._absorption.rearranged(positions)
        self._usual = carried_over(self._usual, positions, np.nan)
        self._told = carried_over(self._told, positions, 1.0)
        self._on = carried_over(self._on, positions, 1.0)
        self._on_total = carried_over(self._on_total, positions, 0.0)
        self._follow(replace(self._plan, expansion=self._expansion))
        self._have_seen(positions < 0)

    def adjusted(self, profile: Profile, now_s: float) -> Profile:
        """Return the profile as known events raise it; the very same where none does."""
        if not self._plan.sources:
            return profile
        wall_s = self._clock()
        self._top_up(wall_s)
        self._pass(wall_s, now_s)
        if not self._since_s <= wall_s < self._until_s:
            self._look(wall_s)
        if self._before is not profile or self._after is None:
            self._before, self._after = profile, self._raised(profile)
        return self._after

    def _raised(self, profile: Profile) -> Profile:
        lift = Lift.of(self._ahead, self._absorption.of(profile))
        if self.agenda is not None:
            self.agenda = replace(self.agenda, lift=lift)
        return lift.applied(profile)

    def learn(self, step: int, values: Floats, now_s: float) -> None:
        """Take in a closed step: profiles of it have seen what was on in it."""
        if self._plan.sources:
            self._pass(self._clock(), now_s)
        if self._on_s <= 0:
            self._absorption = self._absorption.after_step(step, np.maximum(self._on, 1.0), values)
            return
        on, wall_s = self._on_total / self._on_s, self._clock()
        is_on = self._near(wall_s).coming.concerns(wall_s - self._on_s, wall_s)
        self._on_total, self._on_s = np.zeros(len(on)), 0.0
        near = self._near(wall_s)
        before = near.coming.largest(wall_s, wall_s)
        entries = near.coming, near.is_learned, near.near
        hidden = np.where(self._told == 1.0, self._absorption.smoothed[0], self._told)
        self._told = on
        if self._lessons.step(values, wall_s, entries=entries, hidden=hidden):
            self._entries = None
            self._on = self._near(wall_s).coming.largest(wall_s, wall_s)
            # Of what is still on the models have seen all there was to learn from.
            more = self._on / before
            self._absorption, on = self._absorption.scaled(more), on * more
            self._since_s = float("inf")
        self._usual = usual_after(self._usual, is_on, values)
        on = borne_out(on, self._usual, values)
        self._absorption = self._absorption.after_step(step, on, values)

    def _forget(self) -> None:
        """Make columns and lift anew when they are next asked for."""
        self._entries, self.agenda = None, None
        if not self._plan.sources:  # nothing is booked until there are some again
            self._last, self._on_total, self._on_s = None, np.zeros_like(self._on_total), 0.0
        self._since_s = self._until_s = float("inf")
        self._before = self._after = None

    def _pass(self, wall_s: float, now_s: float) -> None:
        """Book for how long what was on has been on; see whether the clock was set meanwhile."""
        if self._last is not None:
            elapsed_s = now_s - self._last[1]
            self._on_total = self._on_total + self._on * elapsed_s
            self._on_s += elapsed_s
            set_by_s = wall_s - self._last[0] - elapsed_s
            if abs(set_by_s) > _CLOCK_SET_S + _CLOCK_DRIFT * elapsed_s:
                log.warning("the clock was set: events are where it says", by_s=round(set_by_s))
                self._lessons.abandon()
        self._last = wall_s, now_s

    def _look(self, wall_s: float) -> None:
        """See what is on and what is coming, until that changes."""
        near, windows = self._near(wall_s), self._plan.windows
        self._on = near.coming.largest(wall_s, wall_s)
        self._ahead = ahead_of(near.coming, wall_s, windows)
        change_s = near.coming.next_change_s(wall_s, windows.all_s)
        self._since_s, self._until_s = wall_s, min(change_s, near.until_s)
        self._before = None
        self.agenda = Agenda(
            taken_at_s=wall_s,
            tenants=len(self._roster),
            foreseen=self._foreseen,
            sources=self._plan.sources,
            occurrences=self._expansion.occurrences,
            concerned=self._concerned,
            numbers=self._lessons.numbers,
            learned=self._lessons.learned,
            windows=windows,
            near=near.near,
            coming=near.coming,
            is_learned=near.is_learned,
            lift=Lift.none(self._ahead.shape),  # until the profile is known
        )

    def _near(self, wall_s: float) -> _Entries:
        """Return the columns of what is near."""
        found = self._entries
        if found is None or not found.since_s <= wall_s < found.until_s:
            until_s = wall_s + max(self._plan.windows.all_s) + _NEAR_S
            past_s = max(WATCHED_S, STEPS_KEPT * self._plan.step_s)
            near = self._affordable(wall_s - past_s, until_s)
            series = len(self._roster) * len(self._foreseen)
            coming = Coming.of(near, self._concerned, series)
            coming, is_learned = self._lessons.resolved(coming, near)
            found = _Entries(coming, is_learned, near, wall_s, wall_s + _NEAR_S)
            self._entries = found
        return found

    def _affordable(self, since_s: float, until_s: float) -> Sequence[Occurrence]:
        """Return what is on within that time, as much of it as columns may be made of."""
        near, left = [], _MOST_ENTRIES
        self._left_out = 0
        for one in self._expansion.occurrences:
            if one.start_s <= until_s and one.end_s > since_s:
                needed = len(self._concerned[one.source].series)
                is_taken = needed <= left
                left -= needed if is_taken else 0
                self._left_out += not is_taken
                near += [one] if is_taken else []
        return near

    def _top_up(self, wall_s: float) -> None:
        """Take over further occurrences that were worked out, or have them worked out in time."""
        if self._further is not None and self._further.is_done:
            done, self._further = self._further, None
            found = done.found if done.sources is self._plan.sources else None
            if done.sources is self._plan.sources:
                self._set_retry(found, wall_s)
            if found is not None:
                _log_problems(found.told(self._plan.sources))
                self._expansion = _in_place_of(self._expansion, found)
                self._forget()
        since_s = self._expansion.since_s
        problems = self._expansion.problems
        is_due = any(problems) or not since_s <= wall_s < since_s + _TOP_UP_S
        is_early = 0 < self._retry_at_s - wall_s <= self._retry_in_s
        if is_due and self._further is None and not is_early:
            sources = tuple(_read_anew(self._plan.sources, problems))
            self._plan = replace(self._plan, sources=sources)  # those files stay to be read
            self._further = _Further(sources, wall_s, self._expand)

    def _set_retry(self, found: Expansion | None, wall_s: float) -> None:
        """Wait before the next, after each failure twice as long."""
        self._retry_at_s = wall_s + self._retry_in_s
        has_failed = found is None or any(found.problems)
        following_s = min(2 * self._retry_in_s, _TOP_UP_S)
        self._retry_in_s = following_s if has_failed else _RETRY_S


def _read_anew(sources: Sequence[EventSource], problems: Sequence[str]) -> Sequence[EventSource]:
    """Return the sources without the contents of files that are at fault."""
    told = [*problems, *[""] * (len(sources) - len(problems))]
    return [
        replace(source, calendar=b"") if problem else source
        for source, problem in zip(sources, told, strict=True)
    ]


def _log_problems(problems: Sequence[str]) -> None:
    if problems:
        log.warning("events cannot be worked out", problems=problems[:3])


def _in_place_of(before: Expansion, found: Expansion) -> Expansion:
    """Return what was found, with what was known of sources that cannot be expanded now.

    Then it counts as old, so that it is tried again.
    """
    if not any(found.problems):
        return found
    kept = [one for one in before.occurrences if found.problems[one.source]]
    occurrences = tuple(sorted([*found.occurrences, *kept]))
    return replace(found, since_s=before.since_s, occurrences=occurrences)


class _Further:
    """Occurrences of these sources that are being worked out, beside the ticks.

    There is one at a time, a reload or not: what is no longer wanted is ended.
    """

    def __init__(self, sources: Sequence[EventSource], since_s: float, expand: Expanding) -> None:
        self.sources, self.is_wanted = sources, True
        self.is_done = False
        self.found: Expansion | None = None
        self._expand, self._since_s = expand, since_s
        try:
            threading.Thread(target=self._run, name="events", daemon=True).start()
        except RuntimeError:  # no room for a thread: it is tried again later
            self.is_done = True

    def _run(self) -> None:
        try:
            self.found = self._expand(self.sources, self._since_s, lambda: self.is_wanted)
        except Exception:  # a fault of ours costs the events to come, and no tick
            log.exception("events cannot be worked out")
        finally:
            self.is_done = True
