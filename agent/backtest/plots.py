"""Plots of a backtest, as text of SVG, drawn with matplotlib.

Figures are made without its state machine, and names that come from a trace stay out of them:
they are shown by the page around, which escapes them.
"""

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agent.backtest.contest import OURS
from agent.backtest.report import FactorResult, pct_text
from agent.backtest.tracks import Track
from agent.figure_style import (
    AXES,
    BAND,
    BLUE,
    BYTES_AXIS,
    DARK,
    GREEN,
    GREY,
    INK,
    PALE,
    RED,
    SHADE,
    STYLE,
    WIDTH_IN,
)
from agent.tenant import Floats

_DAY_S, _HOUR_S = 86400.0, 3600.0
_LEAST_PCT = 0.01  # where the bars' logarithmic axis begins
_LEAST_ZOOM_STEPS = 24
_HOURS_UP_TO_S = 2 * _DAY_S


def bars_svg(factors: Sequence[FactorResult]) -> str:
    """Return unmet demand of each policy: a panel a capacity, a bar a policy, logarithmic."""
    names = [row.policy for row in factors[0].policies][::-1]
    with mpl.rc_context(STYLE):
        height_in = 1.0 + 0.27 * len(names)
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        panels = figure.subplots(1, len(factors), sharey=True, squeeze=False)[0]
        for panel, found in zip(panels, factors, strict=True):
            _bars(panel, found, names)
        figure.supxlabel("unmet demand, % of all demand (logarithmic)")
        return _svg(figure, "bars")


def track_svg(track: Track, step_s: float, resource: str) -> str:
    """Return one tenant's run: all of it, a part around its worst moment, and its balance there."""
    has_balance = bool(np.isfinite(track.balance).any())
    heights = [2.0, 2.4, 0.9] if has_balance else [2.0, 2.4]
    span_s = len(track.demand) * step_s
    unit_s, unit = (_HOUR_S, "hours") if span_s <= _HOURS_UP_TO_S else (_DAY_S, "days")
    edges: Floats = np.arange(len(track.demand) + 1.0) * (step_s / unit_s)
    zoom = _zoom(track, step_s)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 2.2 * sum(heights) / 2), layout="constrained")
        panels = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for panel, part in zip(panels, (slice(0, len(track.demand)), zoom), strict=False):
            _track(panel, track, _edges(edges, part), part, resource)
        panels[0].axvspan(edges[zoom.start], edges[zoom.stop], color=SHADE, zorder=0)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        if has_balance:
            _balance(panels[2], track.balance[zoom], _edges(edges, zoom))
        panels[-1].set_xlabel(f"{unit} since the end of the warm-up (below: the shaded part)")
        return _svg(figure, track.tenant)


def _bars(panel: Axes, found: FactorResult, names: Sequence[str]) -> None:
    rows = {row.policy: row for row in found.policies}
    pct = np.array([100 * rows[name].mean.unmet_fraction for name in names])
    colours = [_colour(name, found, is_reference=rows[name].is_reference) for name in names]
    place = np.arange(len(names))
    panel.barh(place, np.maximum(pct, _LEAST_PCT), color=colours, height=0.72)
    panel.set_xscale("log")
    panel.set_xlim(_LEAST_PCT, 4000)  # room for the numbers behind the longest bar
    panel.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    panel.minorticks_off()
    panel.set_yticks(place, names)
    panel.grid(visible=False, axis="y")
    panel.set_title(f"{found.factor:g} x the peak", fontsize=10)
    for at, value in enumerate(pct.tolist()):
        text = pct_text(value / 100)
        panel.text(max(value, _LEAST_PCT) * 1.25, at, text, va="center", fontsize=8, color=INK)


def _colour(name: str, found: FactorResult, *, is_reference: bool) -> str:
    if name == OURS:
        return BLUE
    if is_reference:
        return PALE
    return DARK if name == found.best_peer else GREY


def _track(panel: Axes, track: Track, edges: Floats, part: slice, resource: str) -> None:
    """Draw demand, forecast, limit and what was unmet, each held for its whole step."""
    size, label = AXES.get(resource, BYTES_AXIS)
    demand, limit, guaranteed, expected, upper, unmet = (
        column[part] / size
        for column in (
            *(track.demand, track.limit, track.guaranteed),
            *(track.expected, track.upper, track.unmet),
        )
    )
    panel.stairs(
        upper, edges, baseline=expected, fill=True, color=BAND, label="forecast: expected to bound"
    )
    panel.stairs(demand, edges, baseline=demand - unmet, fill=True, color=RED, label="unmet")
    panel.stairs(limit, edges, baseline=None, color=BLUE, lw=1.0, label="limit")
    panel.stairs(guaranteed, edges, baseline=None, color=GREEN, lw=0.8, label="guaranteed")
    panel.stairs(demand, edges, baseline=None, color=INK, lw=0.8, label="demand")
    panel.set_xlim(float(edges[0]), float(edges[-1]))
    panel.set_ylim(0.0, _top(demand, upper, limit))
    panel.set_ylabel(label)


def _edges(edges: Floats, part: slice) -> Floats:
    """Return where the steps of a part begin, and where the last one ends."""
    return edges[part.start : part.stop + 1]


def _top(demand: Floats, upper: Floats, limit: Floats) -> float:
    """Return where the axis ends: at what matters, since spare limits may be far above."""
    most = float(np.nanmax(demand, initial=0.0))
    usual = float(np.nanpercentile(upper, 95)) if np.isfinite(upper).any() else most
    needed = max(1.25 * most, min(1.1 * usual, 3.0 * most))
    return max(min(needed, 1.05 * float(np.nanmax(limit, initial=needed))), 1.05 * most, 1e-6)


def _balance(panel: Axes, balance: Floats, edges: Floats) -> None:
    panel.stairs(np.minimum(balance, 0.0), edges, fill=True, color="#f0c6c4")
    panel.stairs(balance, edges, baseline=None, color=DARK, lw=0.9)
    panel.axhline(0.0, color=INK, lw=0.6)
    panel.set_xlim(float(edges[0]), float(edges[-1]))
    panel.set_ylabel("balance,\ncore-seconds")


def _zoom(track: Track, step_s: float) -> slice:
    """Return a part around the largest miss, or around the highest demand where there is none.

    A day of it, at most a quarter of all.
    """
    there_are = len(track.demand)
    steps = max(min(round(_DAY_S / step_s), there_are // 4), min(_LEAST_ZOOM_STEPS, there_are))
    shown = track.unmet if track.unmet.any() else np.nan_to_num(track.demand)
    start = min(max(int(shown.argmax()) - steps // 2, 0), there_are - steps)
    return slice(start, start + steps)


def _svg(figure: Figure, salt: str) -> str:
    """Return the figure as an <svg> element; its ids are its own within a page, and stay."""
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
