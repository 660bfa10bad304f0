"""Which experts a forecaster asks, about which targets, and what so many series can afford.  Pure.

To add one: a center (forecast/around.py) or an expert of its own in forecast/experts/, and a row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forecast.around import Around, Center
from forecast.expert import Expert
from forecast.experts.analogues import Analogues
from forecast.experts.daily import Daily
from forecast.experts.level import Level
from forecast.experts.naive import Naive
from forecast.experts.peak import Peak
from forecast.experts.pooled import Pooled
from forecast.experts.same_time import DAY_S, WEEK_S, SameTime
from forecast.experts.smoothing import SmoothingGrid
from forecast.experts.trend import DampedTrend
from forecast.season import FEWEST_DAYS
from forecast.settings import LONGEST_MEMORY_STEPS, ForecastSettings
from forecast.target import Target

# Errors that experts look back on: a few to follow what changes, many to know what is rare.  Of
# 36, 144, 576 and 2,016 alone and together, these two left least unmet on traces.
_SHORT_MEMORY_STEPS, _LONG_MEMORY_STEPS = 36, 576
# Of the others: the level with its long memory knows what is rare.
_MEMORY_STEPS = 288
Centers = Callable[[int, ForecastSettings], Center]
# Of so many series, asked about these targets, with so many steps of memory.
Maker = Callable[[int, tuple[Target, ...], int, ForecastSettings], Expert]


@dataclass(frozen=True, slots=True)
class Seat:
    """One expert: what it is asked about, how far it looks back, and what all series may take.

    `numbers` are kept of all series together; with very many, each has a shorter past, and with
    less than `least_steps` the expert is not asked at all (see the budgets).
    """

    made: Maker
    is_asked_next: bool
    is_asked_maxima: bool
    memory_steps: int
    least_steps: int
    numbers: int
    least_past_s: float = 0.0  # of a past: with less of it the expert has nothing to say

    def affordable_steps(self, n_series: int) -> int:
        """Return how far back it can look, of so many series; 0 where that is too little."""
        steps = min(self.memory_steps, self.numbers // max(n_series, 1))
        return steps if steps >= self.least_steps else 0

    def targets(self, targets: Sequence[Target]) -> tuple[int, ...]:
        """Return the places of the targets that it is asked about."""
        asked = (self.is_asked_next, *[self.is_asked_maxima] * (len(targets) - 1))
        return tuple(place for place, is_asked in enumerate(asked) if is_asked)


def _around(center: Centers) -> Maker:
    """Return what makes an expert of a center and the errors around it."""
    return lambda n_series, targets, steps, settings: Around(
        center(n_series, settings), n_series, targets, steps
    )


def _analogues(
    n_series: int, targets: tuple[Target, ...], steps: int, _: ForecastSettings
) -> Analogues:
    return Analogues(n_series, targets, steps)


def _pooled(n_series: int, targets: tuple[Target, ...], _: int, __: ForecastSettings) -> Pooled:
    return Pooled(n_series, targets)


def _daily(n_series: int, settings: ForecastSettings) -> Daily:
    return Daily(n_series, settings.step_s)


def _same_time(lag_s: float) -> Centers:
    return lambda n_series, settings: SameTime(n_series, lag_s, settings.step_s)


_LONG = _LONG_MEMORY_STEPS
_LEVEL = _around(lambda _, __: Level())
PANEL: dict[str, Seat] = {
    "level": Seat(_LEVEL, True, False, _LONG, _SHORT_MEMORY_STEPS + 1, 4_500_000),
    "level_of_late": Seat(_LEVEL, True, False, _SHORT_MEMORY_STEPS, 1, 50_000_000),
    "halfway": Seat(_around(lambda _, __: Peak(halfway=True)), False, True, _LONG, 1, 2_000_000),
    "analogues": Seat(_analogues, True, True, LONGEST_MEMORY_STEPS, 96, 3_000_000),
    "pooled": Seat(_pooled, True, True, 1, 1, 20_000),
    "last": Seat(_around(lambda n, _: Naive(n)), True, True, _MEMORY_STEPS, 144, 600_000),
    "smoothing": Seat(
        _around(lambda n, _: SmoothingGrid(n)), True, False, _MEMORY_STEPS, 144, 1_500_000
    ),
    "trend": Seat(_around(lambda n, _: DampedTrend(n)), True, True, _MEMORY_STEPS, 144, 600_000),
    "daily": Seat(
        _around(_daily), True, True, _MEMORY_STEPS, 144, 600_000, least_past_s=FEWEST_DAYS * DAY_S
    ),
    "peak": Seat(
        _around(lambda _, __: Peak(halfway=False)), False, True, _MEMORY_STEPS, 144, 600_000
    ),
    "yesterday": Seat(
        _around(_same_time(DAY_S)), True, True, _MEMORY_STEPS, 144, 400_000, least_past_s=DAY_S
    ),
    "last_week": Seat(
        _around(_same_time(WEEK_S)), True, True, _MEMORY_STEPS, 144, 300_000, least_past_s=WEEK_S
    ),
}


def affordable(n_series: int, settings: ForecastSettings) -> dict[str, int]:
    """Return the experts that so many series can afford, and how many steps each looks back."""
    names = settings.experts or tuple(PANEL)
    steps = {name: PANEL[name].affordable_steps(n_series) for name in names}
    return {name: count for name, count in steps.items() if count}
