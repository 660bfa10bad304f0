"""What a forecaster is told once: how far to look, how sure to be, how much to keep.  Pure."""

from dataclasses import dataclass

# ETS(A,N,N) refuses to be fitted to fewer points.
FEWEST_POINTS = 7
# A week of minutes, a day of them: rings are bounded whatever is asked for.
_MOST_HISTORY_STEPS = 10_080
_MOST_HORIZON_STEPS = 1_440
# A horizon of 15 minutes is also told for its first 5 and 10.
HORIZONS = 3
# Of a metric's value, above zero and below: here, as the command line loads no numpy.
LARGEST_METRIC = 1e15
# How far any expert looks back.
LONGEST_MEMORY_STEPS = 2016
# Numbers of history kept of all series together, by the agent and by the forecaster: with very
# many, each has a shorter past (see the budgets), but for what a first fit needs.
_HISTORY_NUMBERS = 4_000_000
_LEAST_HISTORY_STEPS = 60
# As many are learned within some 10 s of processor time.
_LEARNED_NUMBERS = 200_000


@dataclass(frozen=True, slots=True)
class ForecastSettings:
    """Settings of one forecaster; periods in seconds, lengths in steps.

    Raises:
        ValueError: A value is outside of what the forecaster can work with.

    """

    step_s: float = 60.0
    horizon_steps: int = 15
    refit_s: float = 7200.0  # every series is refitted about this often
    refit_share: float = 0.05  # of one core, at most; refits come later rather than cost more
    are_refits_counted: bool = False  # as many as are due, whatever they cost: for replays
    history_steps: int = 240  # what models are fitted on
    experts: tuple[str, ...] = ()  # of forecast.panel; none named are all that can be afforded
    min_points: int = 12  # fewer points than this, and a series is still being learned

    def __post_init__(self) -> None:
        conditions = {
            "step_s": 0 < self.step_s < float("inf"),
            "horizon_steps": 1 <= self.horizon_steps <= _MOST_HORIZON_STEPS,
            "refit_s": 0 < self.refit_s < float("inf"),
            "refit_share": 0 < self.refit_share <= 1,
            "history_steps": self.min_points <= self.history_steps <= _MOST_HISTORY_STEPS,
            "min_points": self.min_points >= FEWEST_POINTS,
        }
        problems = [name for name, is_good in conditions.items() if not is_good]
        if problems:
            raise ValueError(f"forecast settings out of range: {', '.join(problems)}")

    @property
    def horizons_steps(self) -> tuple[int, ...]:
        """Return how many steps each horizon spans: a third, two thirds and all of the longest."""
        return tuple(-(-self.horizon_steps * part // HORIZONS) for part in range(1, HORIZONS + 1))

    def affordable_history_steps(self, n_series: int) -> int:
        """Return how many steps of history so many series can afford, of those asked for."""
        return min(self.history_steps, _affordable_steps(n_series))

    def kept_steps(self, n_series: int) -> int:
        """Return how many steps to keep for a forecaster that begins anew.

        It learns from more than models are fitted on: some experts look back for a week.  But it
        learns as slowly as it forecasts, and nothing else until it is through.
        """
        learned = min(LONGEST_MEMORY_STEPS, _LEARNED_NUMBERS // max(n_series, 1))
        return max(self.affordable_history_steps(n_series), learned)


def _affordable_steps(n_series: int) -> int:
    return max(_HISTORY_NUMBERS // max(n_series, 1), _LEAST_HISTORY_STEPS)
