"""Figures of forecasts made by hand."""

import numpy as np

from forecast.quality import PINBALLS, Quality, Verdict

EXPERTS = ("short", "long")


def quality(
    series: int,
    *,
    coverage_95: float = 0.95,
    skill: float = 0.2,
    windows: float = 500.0,
    verdict: Verdict = Verdict.GOOD,
) -> Quality:
    """Return the same figures for so many series."""

    def column(value: float) -> np.ndarray:
        return np.full(series, value, dtype=np.float32)

    return Quality(
        experts=EXPERTS,
        shares=np.tile(np.array([[75], [25]], dtype=np.uint8), series),
        verdict=np.full(series, verdict, dtype=np.uint8),
        windows=column(windows),
        coverage=np.stack([column(value) for value in (0.81, coverage_95, 0.99)]),
        pinball=np.stack([column(0.1)] * PINBALLS),
        sharpness=column(0.5),
        bias=column(-0.01),
        skill=column(skill),
        skill_best=column(0.01),
    )
