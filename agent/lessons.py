"""What events take, learned from one occurrence after the other, and kept in a file.

It watches what `agent.coming` says has begun; multipliers that are configured teach nothing.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from agent.coming import Coming
from agent.event import Occurrence
from agent.learned import MOST_RATIO, MOST_WEIGHT, Learned
from agent.learned_store import MOST_ROWS, LearnedStore, Row
from agent.tenant import Bools, Floats, Ints, Resource, Roster
from agent.watches import WATCHED_S, Watches

_ALMOST_USUAL = 0.05  # another event that is on hides what this one takes


class Lessons:
    """Learned multipliers of each event and series, and the watches that they come from."""

    def __init__(self, roster: Roster, foreseen: Sequence[Resource], store: LearnedStore) -> None:
        self._roster, self._foreseen, self._store = roster, tuple(foreseen), store
        self._numbers: dict[str, int] = {}  # what was seen last comes last
        self._next_number = 0
        self._watches = Watches.none(self._n_series)
        self.learned = self._recalled()
        self._seen_until_s = float("nan")

    @property
    def _n_series(self) -> int:
        return len(self._roster) * len(self._foreseen)

    @property
    def numbers(self) -> Mapping[str, int]:
        """Return the number of each event, by name."""
        return self._numbers

    def rearrange(self, roster: Roster, foreseen: Sequence[Resource], positions: Ints) -> None:
        """Go on with other series; -1 is a newcomer."""
        self._roster, self._foreseen = roster, tuple(foreseen)
        self.learned = self.learned.rearranged(positions)
        self._watches = self._watches.rearranged(positions)

    def abandon(self) -> None:
        """Watch nothing any more: the clock was set, and nobody knows what began when."""
        self._watches, self._seen_until_s = self._watches.abandoned(), float("nan")

    def resolved(self, coming: Coming, near: Sequence[Occurrence]) -> tuple[Coming, Bools]:
        """Return entries with what is learned where nothing is configured, and say where it is."""
        is_learned = np.isnan(coming.multiplier)
        event = self._events_of(coming, near)[is_learned]
        multiplier = coming.multiplier.copy()
        multiplier[is_learned] = self.learned.multiplier(event, coming.series[is_learned])
        return coming.with_multiplier(multiplier), is_learned

    def step(
        self,
        values: Floats,
        wall_s: float,
        *,
        entries: tuple[Coming, Bools, Sequence[Occurrence]],
        hidden: Floats,
    ) -> bool:
        """Take in the demand of a step that ends at `wall_s`; say whether anything was learned.

        `hidden` (series,) says by how much another event hides what one takes that begins.
        """
        began_s, self._seen_until_s = self._seen_until_s, wall_s
        if np.isnan(began_s):
            began_s = wall_s
        before = self._watches
        after, series, ratio = before.with_step(values).ended(wall_s + (wall_s - began_s) / 2)
        coming, is_learned, near = entries
        is_new = is_learned & (coming.start_s > began_s) & (coming.start_s <= wall_s)
        is_new &= np.abs(hidden[coming.series] - 1.0) <= _ALMOST_USUAL
        if is_new.any():
            until_s = np.minimum(coming.end_s, coming.start_s + WATCHED_S)[is_new]
            names = (near[at].name for at in coming.occurrence[is_new].tolist())
            event = np.array([self._number(name) for name in names], dtype=np.int64)
            after = after.begun(coming.series[is_new], event, until_s, level=before.level)
        self._watches = after
        if len(series):
            event = before.event[series]
            self.learned = self.learned.settled(event, series, ratio)
            rows = self._rows(event, series)
            for name in dict.fromkeys(row[0] for row in rows):
                self._number(name)
            self._store.save(rows, wall_s)
        if len(series) or is_new.any():
            self._forget()
        return len(series) > 0

    def _events_of(self, coming: Coming, near: Sequence[Occurrence]) -> Ints:
        """Return the number of each entry's event, -1 where nothing was ever learned of it."""
        numbers = [self._numbers.get(one.name, -1) for one in near]
        return np.array(numbers, dtype=np.int64)[coming.occurrence]

    def _number(self, name: str) -> int:
        """Return the number of an event that is seen now; each has its own."""
        number = self._numbers.pop(name, self._next_number)
        self._next_number = max(self._next_number, number + 1)
        self._numbers[name] = number
        return number

    def _forget(self) -> None:
        """Drop what was seen longest ago beyond what the file keeps, and names of nothing."""
        left_over = len(self.learned.key) - MOST_ROWS
        event, rows = np.unique(self.learned.events, return_counts=True)
        rows_of = dict(zip(event.tolist(), rows.tolist(), strict=True))
        dropped = []
        for number in self._numbers.values():
            if left_over <= 0:
                break
            left_over -= rows_of.pop(number, 0)
            dropped.append(number)
        self.learned = self.learned.without(np.array(dropped, dtype=np.int64))
        used = {*rows_of, *self._watches.event.tolist()}
        self._numbers = {name: number for name, number in self._numbers.items() if number in used}

    def _rows(self, event: Ints, series: Ints) -> list[Row]:
        """Return what is learned of these pairs as it is kept."""
        names = {number: name for name, number in self._numbers.items()}
        rows = np.searchsorted(self.learned.key, self.learned.keys(event, series))
        return [
            (
                names[number],
                self._roster.names[one % len(self._roster)],
                str(self._foreseen[one // len(self._roster)]),
                float(self.learned.log_sum[row]),
                float(self.learned.weight[row]),
                int(self.learned.count[row]),
            )
            for number, one, row in zip(event.tolist(), series.tolist(), rows.tolist(), strict=True)
        ]

    def _recalled(self) -> Learned:
        """Return what was learned before this start, of the series that there are."""
        tenant_at = {name: at for at, name in enumerate(self._roster.names)}
        first_of = {str(r): place * len(self._roster) for place, r in enumerate(self._foreseen)}
        rows = [
            (
                self._number(event) * self._n_series + first_of[resource] + tenant_at[tenant],
                *numbers,
            )
            for event, tenant, resource, *numbers in self._store.rows()
            if tenant in tenant_at and resource in first_of
        ]
        key, log_sum, weight, count = np.array(rows, dtype=np.float64).reshape(-1, 4).T
        weight = np.minimum(weight, MOST_WEIGHT)
        most = weight * np.log(MOST_RATIO)
        sums = np.clip(log_sum, -most, most), weight
        return Learned.of_rows(self._n_series, key.astype(np.int64), sums, count.astype(np.int64))
