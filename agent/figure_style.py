"""How figures look that are drawn with matplotlib: of the backtest and of forecasts.  Pure."""

from typing import Any, Final

STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "path.simplify": True,
}
BLUE, RED, GREEN, INK = "#1f6fb4", "#d1342f", "#3a8f4d", "#222222"
BAND, GREY, DARK, PALE, SHADE = "#c9dcee", "#9a9a9a", "#555555", "#dddddd", "#f3ead2"
WIDTH_IN = 11.0
_GIB, _MIB = 2.0**30, 2.0**20
# What an axis of amounts counts in, and how that is called.
AXES: Final = {"cpu": (1.0, "cores"), "memory": (_GIB, "GiB")}
BYTES_AXIS: Final = (_MIB, "MiB/s")
