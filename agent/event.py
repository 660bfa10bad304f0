"""Known events: what takes place when, for whom, and how much more of what it takes.  Pure.

Nothing here reads a file or knows the time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.tenant import Kind

MOST_OCCURRENCES = 50_000  # of all sources; the agent keeps them: some 200 bytes each


@dataclass(frozen=True, slots=True)
class EventSource:
    """One entry of a configuration file: an event, or an iCalendar file of many.

    It concerns the tenant in whose file it stands; in the host's file those that have one of its
    regions, or all where it names none.
    """

    place: str  # the entry: "events[0]"
    name: str = ""  # "": each event of the file has its own
    tenant: str = ""  # "": the host's file
    regions: tuple[str, ...] = ()
    multiplier: Mapping[Kind, float] = field(default_factory=dict)  # what it lacks is learned
    timezone: str = "UTC"  # of times that name none themselves
    # Seconds of UNIX time, of what takes place once.
    span_s: tuple[float, float] | None = None
    # Of what is repeated: local times in ISO 8601 (dates are whole days), and an RRULE.
    starts: str = ""
    ends: str = ""
    lasts_s: float = 0.0  # in place of an end
    repeat: str = ""
    path: str = ""  # an iCalendar file, and its contents; b"" where they have still to be read
    calendar: bytes = b""

    @property
    def needs_expansion(self) -> bool:
        """Say whether its times have to be worked out from a rule or an iCalendar file."""
        return self.span_s is None

    @property
    def where(self) -> str:
        """Return which file or event it is, and whose: for messages."""
        whose = f"tenant {self.tenant}: " if self.tenant else ""
        return whose + (_shown_path(self.path) if self.path else f"event {self.name!r}")

    @property
    def rule(self) -> tuple[object, ...]:
        """Return what its occurrences follow from, but for a file's contents."""
        of_event = self.name, self.starts, self.ends, self.lasts_s, self.repeat
        return (self.path, self.timezone, *of_event)

    def concerns(self, tenant: str, regions: Sequence[str]) -> bool:
        """Say whether it is an event of a tenant that has these regions."""
        if self.tenant:
            return tenant == self.tenant
        return not self.regions or any(region in self.regions for region in regions)


@dataclass(frozen=True, slots=True, order=True)
class Occurrence:
    """One time that an event takes place, in seconds of UNIX time; `source` is its position."""

    start_s: float
    end_s: float
    name: str
    source: int


@dataclass(frozen=True, slots=True)
class Expansion:
    """All occurrences from shortly before `since_s` to `until_s`, in order; sources' problems."""

    since_s: float = 0.0
    until_s: float = 0.0
    occurrences: tuple[Occurrence, ...] = ()
    problems: tuple[str, ...] = ()  # "" where there is none

    def told(self, sources: Sequence[EventSource]) -> tuple[str, ...]:
        """Return each problem behind the source that has it."""
        problems = zip(sources, self.problems, strict=False)
        return tuple(f"{source.where}: {problem}" for source, problem in problems if problem)

    def with_last_known(
        self,
        sources: Sequence[EventSource],
        before: Sequence[EventSource],
        known: Sequence[Occurrence],
    ) -> "Expansion":
        """Return it with what was `known` of its `sources` that cannot be expanded now.

        `before` are the sources that `known` counts by.
        """
        place = {source.rule: at for at, source in reversed(list(enumerate(before)))}
        of_place: dict[int, list[Occurrence]] = {}
        for one in known:
            of_place.setdefault(one.source, []).append(one)
        kept = [
            replace(one, source=at)
            for at, problem in enumerate(self.problems)
            if problem
            for one in of_place.get(place.get(sources[at].rule, -1), ())
        ]
        room = MOST_OCCURRENCES - len(self.occurrences)
        occurrences = tuple(sorted([*self.occurrences, *kept[: max(room, 0)]]))
        return replace(self, occurrences=occurrences)


def _shown_path(path: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in path)
