"""Which series events concern, when, and how much more they take then: columns.  Pure.

Times are seconds of UNIX time.  An entry is one occurrence for one series.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.event import EventSource, Occurrence
from agent.tenant import Bools, Floats, Ints, Resource, Roster

Regions = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Coming:
    """Occurrences by series; columns of shape (entries,), in the order of the occurrences."""

    series: Ints
    start_s: Floats
    end_s: Floats
    multiplier: Floats  # NaN: nothing is configured
    occurrence: Ints  # its position among the occurrences
    edges_s: Floats  # when anything starts or ends
    n_series: int

    @classmethod
    def of(
        cls,
        occurrences: Sequence[Occurrence],
        sources: Sequence["Concerned"],
        n_series: int,
    ) -> "Coming":
        """Return an entry for each series that an occurrence concerns; see `Concerned`."""
        counts = np.array([len(sources[one.source].series) for one in occurrences], dtype=np.int64)
        chosen = [sources[one.source] for one in occurrences]
        empty_ints, empty = np.empty(0, dtype=np.int64), np.empty(0)
        return cls(
            series=np.concatenate([empty_ints, *(one.series for one in chosen)]),
            start_s=np.repeat(np.array([one.start_s for one in occurrences]), counts),
            end_s=np.repeat(np.array([one.end_s for one in occurrences]), counts),
            multiplier=np.concatenate([empty, *(one.multiplier for one in chosen)]),
            occurrence=np.repeat(np.arange(len(occurrences)), counts),
            edges_s=np.unique([at for one in occurrences for at in (one.start_s, one.end_s)]),
            n_series=n_series,
        )

    def __len__(self) -> int:
        return len(self.series)

    def with_multiplier(self, multiplier: Floats) -> "Coming":
        """Return the same with other multipliers (entries,)."""
        return replace(self, multiplier=multiplier)

    def is_within(self, since_s: float, until_s: float) -> Bools:
        """Say of each entry whether it is on at some time from `since_s` to `until_s`."""
        return (self.start_s <= until_s) & (self.end_s > since_s)

    def concerns(self, since_s: float, until_s: float) -> Bools:
        """Say for which series anything is on at some time from then to then, (series,)."""
        found = np.zeros(self.n_series, dtype=np.bool_)
        found[self.series[self.is_within(since_s, until_s)]] = True
        return found

    def largest(self, since_s: float, until_s: float) -> Floats:
        """Return each series' largest multiplier from `since_s` to `until_s`, shape (series,).

        Where no one event is on for all of that time, 1 counts too: it may be as usual meanwhile.
        """
        within = self.is_within(since_s, until_s)
        series = self.series[within]
        found = np.full(self.n_series, -np.inf)
        np.maximum.at(found, series, self.multiplier[within])
        is_throughout = (self.start_s[within] <= since_s) & (self.end_s[within] > until_s)
        is_covered = np.zeros(self.n_series, dtype=np.bool_)
        is_covered[series[is_throughout]] = True
        return np.where(is_covered, found, np.maximum(found, 1.0))

    def next_change_s(self, now_s: float, windows_s: Sequence[float]) -> float:
        """Return when `largest` from then on, of any of the windows, may next be another."""
        edges = self.edges_s
        times = np.concatenate([edges, *(edges - window_s for window_s in windows_s)])
        later = times[times > now_s]
        return float(later.min()) if len(later) else float("inf")


@dataclass(frozen=True, slots=True)
class Concerned:
    """The series that one source concerns, and what is configured of each; NaN: it is learned."""

    series: Ints
    multiplier: Floats


def concerned(
    sources: Sequence[EventSource], roster: Roster, foreseen: Sequence[Resource], regions: Regions
) -> list[Concerned]:
    """Return whom each source concerns; series are those of `foreseen`, tenants within."""
    at = {name: position for position, name in enumerate(roster.names)}
    everyone = np.arange(len(roster))
    by_regions: dict[tuple[str, ...], Ints] = {(): everyone}
    found = []
    for source in sources:
        if source.tenant:
            own = [at[source.tenant]] if source.tenant in at else []
            tenants = np.array(own, dtype=np.int64)
        else:
            tenants = by_regions.get(source.regions, everyone)
            if source.regions not in by_regions:
                has = [source.concerns(name, regions.get(name, ())) for name in roster.names]
                tenants = by_regions[source.regions] = np.flatnonzero(has)
        multipliers = [source.multiplier.get(resource.kind, np.nan) for resource in foreseen]
        found.append(
            Concerned(
                np.concatenate(
                    [np.empty(0, dtype=np.int64)]
                    + [tenants + place * len(roster) for place in range(len(foreseen))]
                ),
                np.repeat(np.array(multipliers, dtype=np.float64), len(tenants)),
            )
        )
    return found
