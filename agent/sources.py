"""What is known of sources of events that cannot be read now: their last events, and why."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from agent.agenda import Agenda
from agent.calendar import CalendarPlan
from agent.event import EventSource, Expansion
from agent.expanding import expanded


class Sources:
    """The plan that is followed, and what is wrong with its sources."""

    def __init__(self, plan: CalendarPlan) -> None:
        self._follow(plan)

    def followed(self, plan: CalendarPlan, agenda: Agenda | None) -> CalendarPlan:
        """Go on with another plan; what it cannot expand is as the last agenda has it."""
        last = self.plan
        kept = plan.expansion.with_last_known(
            plan.sources,
            last.sources if agenda is None else agenda.sources,
            last.expansion.occurrences if agenda is None else agenda.occurrences,
        )
        self._follow(replace(plan, expansion=kept))
        return self.plan

    def expanded(
        self, sources: Sequence[EventSource], since_s: float, is_wanted: Callable[[], bool]
    ) -> Expansion:
        """Expand these sources anew, and note what is wrong; any thread may."""
        found = expanded(sources, since_s, is_wanted)
        if is_wanted():
            self.problems = found.told(sources)
        return found

    def _follow(self, plan: CalendarPlan) -> None:
        self.plan, self.problems = plan, plan.expansion.told(plan.sources)
