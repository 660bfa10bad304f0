"""A forecast as a figure for a page: PNG or SVG, drawn with matplotlib.

Figures are made without its state machine.
"""

import io
import math
from datetime import datetime

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from agent.figure_style import AXES, BAND, BLUE, BYTES_AXIS, DARK, INK, RED, STYLE, WIDTH_IN
from agent.forecast_view import View
from agent.tenant import Floats, Kind
from agent.units import seconds_text

_HEIGHT_IN, _DPI = 4.2, 144
_AHEAD = ("#8fb8dc", "#b5d0e8", "#d9e7f3")  # up to the bound at 80, 95 and 99 %
_PLAIN_AXES = {
    Kind.DISK_READ_OPS: "operations/s",
    Kind.DISK_WRITE_OPS: "operations/s",
    Kind.REQUESTS: "requests/s",
}


def figure_bytes(view: View, form: str) -> bytes:
    """Return the figure in `form`, "png" or "svg"."""
    stream = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else None
    with mpl.rc_context({**STYLE, "svg.hashsalt": view.tenant, "text.parse_math": False}):
        figure = Figure(figsize=(WIDTH_IN, _HEIGHT_IN), layout="constrained")
        panel = figure.subplots()
        size, label = _axis(view.resource.kind)
        _past(panel, view, size)
        _ahead(panel, view, size)
        panel.set_ylabel(label)
        panel.set_ylim(0.0, _top(view, size))
        panel.set_title(_title(view), loc="left", fontsize=11)
        handles, labels = panel.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), frameon=False)
        _times(panel)
        figure.savefig(stream, format=form, dpi=_DPI, metadata=metadata)
    return stream.getvalue()


def _axis(kind: Kind) -> tuple[float, str]:
    if kind in _PLAIN_AXES:
        return 1.0, _PLAIN_AXES[kind]
    return AXES.get(kind, BYTES_AXIS)


def _title(view: View) -> str:
    held, windows = view.held()
    name = view.tenant.replace("$", r"\$")
    shown = f": {held} of {windows} bounds at 95 % held" if windows else ""
    return f"{name}, {view.resource}{shown}"


def _past(panel: Axes, view: View, size: float) -> None:
    if not len(view.ended_at_s):
        return
    edges = _dates(np.concatenate((view.ended_at_s[:1] - view.step_s, view.ended_at_s)))
    bound, demand = view.bound / size, view.demand / size
    panel.stairs(
        bound,
        edges,
        baseline=view.expected / size,
        fill=True,
        color=BAND,
        label="expected, to bound of the maximum at 95 %",
    )
    panel.stairs(demand, edges, baseline=None, color=INK, lw=1.0, label="demand")
    if view.is_above.any():
        over, low = np.where(view.is_above, demand, np.nan), np.where(view.is_above, bound, np.nan)
        panel.stairs(over, edges, baseline=low, fill=True, color=RED, label="above its bound")


def _ahead(panel: Axes, view: View, size: float) -> None:
    """Draw the bounds from now on, the likeliest darkest, and what the next step expects."""
    ends, bounds = view.ahead()
    if not len(ends) or view.forecast is None or view.forecast.expected is None:
        return
    edges = _dates(np.concatenate(([view.made_at_s], ends)))
    low = np.full(len(ends), view.forecast.expected / size)
    for row, colour, level in zip(bounds / size, _AHEAD, (80, 95, 99), strict=True):
        name = f"{level} %" if level != 80 else f"next {_horizons(view)} at 80 %"  # noqa: PLR2004
        panel.stairs(row, edges, baseline=low, fill=True, color=colour, label=name)
        low = row
    panel.axvline(float(edges[0]), color=DARK, lw=0.8, ls=":")
    panel.hlines(view.forecast.expected / size, edges[0], edges[-1], color=BLUE, lw=1.2)


def _horizons(view: View) -> str:
    horizons = view.forecast.horizons if view.forecast else ()
    return ", ".join(seconds_text(one.horizon_s) for one in horizons)


def _top(view: View, size: float) -> float:
    """Return where the axis ends: above what was wanted, and above what bounds usually are."""
    _, ahead = view.ahead()
    bound = view.bound[np.isfinite(view.bound)]
    usual = [float(np.percentile(bound, 99))] if len(bound) else []
    known = [*usual, *view.demand.tolist(), *ahead.reshape(-1).tolist()]
    most = max((value for value in known if math.isfinite(value)), default=0.0)
    return 1.05 * most / size or 1.0


def _times(panel: Axes) -> None:
    zone = datetime.now().astimezone().tzinfo
    locator = AutoDateLocator(tz=zone)  # type: ignore[no-untyped-call]
    panel.xaxis.set_major_locator(locator)
    form = ConciseDateFormatter(locator, tz=zone)  # type: ignore[no-untyped-call]
    panel.xaxis.set_major_formatter(form)
    panel.margins(x=0.0)


def _dates(at_s: Floats) -> Floats:
    times = [datetime.fromtimestamp(one).astimezone() for one in at_s.tolist()]
    numbers = date2num(times)  # type: ignore[no-untyped-call]
    return np.asarray(numbers, dtype=np.float64)
