"""How good a forecast has been, in words: what `explain` and `forecast` both say.  Pure."""

from agent.answers import ForecastQuality

_VERDICTS = {
    "unjudged": "too little to judge by yet: ",
    "good": "",
    "poor": "poor, and so refitted early: ",
    "replaced": "poor, so that the fallback rule stands in until the model does better: ",
}
_ALIKE_PCT = 0.5
# One begins every third of a horizon: as long as 20 side by side (forecast.judge.least_windows).
JUDGED_FROM_HORIZONS = 58


def accuracy_text(quality: ForecastQuality | None) -> str:
    """Return what the figures say, the verdict first; "" where nothing has kept score."""
    if quality is None:
        return ""
    held = (quality.coverage_80_pct, quality.coverage_95_pct, quality.coverage_99_pct)
    if None in held:
        return "not known yet: no horizon has ended since its model was fitted."
    said = [
        f"bounds for 80, 95 and 99 % held {_listed(held)} % of the time over "
        f"{quality.windows:.0f} horizons{_needed(quality)}",
        *_skill_parts(quality),
        *_size_parts(quality),
    ]
    return f"{_VERDICTS[quality.verdict]}{'; '.join(said)}."


def _needed(quality: ForecastQuality) -> str:
    is_waiting = quality.verdict == "unjudged" and quality.windows < JUDGED_FROM_HORIZONS
    return f" of the {JUDGED_FROM_HORIZONS} that it takes" if is_waiting else ""


def _skill_parts(quality: ForecastQuality) -> list[str]:
    against = (
        (quality.skill_naive_pct, "the naive forecast"),
        (quality.skill_best_expert_pct, "the best single expert"),
    )
    said = [f"{_lost(skill)} {whom}" for skill, whom in against if skill is not None]
    return [f"the next step's quantiles lost {' and '.join(said)}"] if said else []


def _lost(skill_pct: float) -> str:
    if abs(skill_pct) < _ALIKE_PCT:
        return "as much as"
    return f"{abs(skill_pct):.0f} % {'less' if skill_pct > 0 else 'more'} than"


def _size_parts(quality: ForecastQuality) -> list[str]:
    said = []
    if quality.sharpness_pct is not None:
        above = f"{abs(quality.sharpness_pct) / 100:.2g} times the mean demand"
        where = "above" if quality.sharpness_pct >= 0 else "below"
        said.append(f"the bound at 95 % stood {above} {where} what came")
    if quality.bias_pct is not None:
        much = "much" if quality.bias_pct >= 0 else "little"
        said.append(f"{abs(quality.bias_pct):.1f} % too {much} was expected")
    return said


def _listed(percents: tuple[float | None, ...]) -> str:
    *first, last = [
        f"{percent:.1f}".removesuffix(".0") for percent in percents if percent is not None
    ]
    return f"{', '.join(first)} and {last}"
