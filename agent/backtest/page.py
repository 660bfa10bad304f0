"""One self-contained HTML page of a backtest: plots and tables, nothing fetched, no script."""

from collections.abc import Sequence
from html import escape

from agent.backtest.plots import bars_svg, track_svg
from agent.backtest.report import (
    Report,
    density_lines,
    factor_lines,
    legend_lines,
    pct_text,
    setup_lines,
)
from agent.backtest.tracks import Track

_WIDTH = 120
_CSS = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff;
       max-width: 1120px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem; }
p { margin: .3rem 0; }
pre { font: 12.5px/1.4 ui-monospace, monospace; background: #f6f6f6; padding: .8rem 1rem;
      overflow-x: auto; border-radius: 4px; }
svg { width: 100%; height: auto; }
.note { color: #555; }
"""


def page_of(report: Report, tracks: Sequence[Track], *, seed: int, factor: float) -> str:
    """Return the page; `tracks` are of tidegate's run on one host at one capacity."""
    setup = report.setup
    parts = [
        f"<h1>Backtest of {escape(setup.trace)}</h1>",
        *(f'<p class="note">{escape(line)}</p>' for line in setup_lines(setup)),
        "<h2>Unmet demand by policy</h2>",
        '<p class="note">Blue is tidegate, dark grey the best peer, pale the references, which '
        "know what no policy can know. Mean over hosts; shorter is better.</p>",
        bars_svg(report.factors),
        "<h2>Figures</h2>",
        *(_pre(factor_lines(found, setup, _WIDTH)) for found in report.factors),
    ]
    if report.density is not None:
        parts += ["<h2>Density</h2>", _pre(density_lines(report.density, setup, _WIDTH))]
    parts += [_pre(legend_lines(setup)), *_tracks(report, tracks, seed=seed, factor=factor)]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>tidegate backtest: {escape(setup.trace)}</title><style>{_CSS}</style>"
    )
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _tracks(report: Report, tracks: Sequence[Track], *, seed: int, factor: float) -> list[str]:
    setup = report.setup
    parts = [
        "<h2>Tenants under tidegate</h2>",
        f'<p class="note">On host {seed} at {factor:g} x its peak. The band is what was forecast '
        "before each step: from the expected demand to the bound that demand should stay below "
        "within the horizon with 95 % probability. Limits far above the demand are cut off.</p>",
    ]
    for track in tracks:
        parts += [
            f"<h2>{escape(track.tenant)}</h2>",
            f'<p class="note">{escape(track.qos)}; {escape(track.why)}. '
            f"Unmet: {escape(pct_text(track.unmet_fraction))} of its demand.</p>",
            track_svg(track, setup.step_s, setup.resource),
        ]
    return parts


def _pre(lines: Sequence[str]) -> str:
    return f"<pre>{escape(chr(10).join(lines))}</pre>"
