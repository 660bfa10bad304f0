"""Laws of agent.forecast_chart: whatever was recorded, the plot has its size and its axis."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agent.answers import HorizonBounds, ResourceForecast
from agent.forecast_chart import chart_lines, level_labels, nice_top
from agent.forecast_view import View
from agent.tenant import Floats, Kind, Resource

amounts = st.one_of(st.just(float("nan")), st.floats(0, 1e15), st.floats(0, 2))
widths = st.integers(30, 200)


@st.composite
def views(draw: st.DrawFn) -> View:
    steps = draw(st.integers(0, 60))

    def column() -> Floats:
        return draw(hnp.arrays(np.float64, steps, elements=amounts))

    step_s = draw(st.sampled_from([1.0, 60.0, 900.0]))
    known = st.one_of(st.none(), st.floats(0, 1e15))
    bounds = tuple(HorizonBounds(part * step_s, *(draw(known),) * 3) for part in (5, 10, 15))
    forecast = ResourceForecast("cpu", "cores", "live", draw(known), bounds, {}, None)
    has_forecast = draw(st.booleans())
    now_s = 1.8e9 + draw(st.floats(0, 1e6))
    return View(
        tenant="web",
        resource=Resource(draw(st.sampled_from(list(Kind)))),
        step_s=step_s,
        ended_at_s=now_s - step_s * np.arange(steps, dtype=np.float64)[::-1],
        demand=column(),
        expected=column(),
        bound=column(),
        made_at_s=now_s if has_forecast else float("nan"),
        forecaster="live",
        forecast=forecast if has_forecast else None,
        is_fine=True,
    )


@given(views(), widths)
def test_a_plot_has_sixteen_rows_and_an_axis_and_is_no_wider_than_the_terminal(
    view: View, width: int
) -> None:
    lines = chart_lines(view, width=width)
    if not len(view.demand) and view.forecast is None:
        assert lines == []
        return
    assert len(lines) == 18
    margin = lines[0].index("┤") + 1
    assert max(map(len, lines)) <= max(width, margin + 24)
    assert "└" in lines[16]


@given(st.floats(1e-9, 1e18), st.sampled_from(list(Kind)))
def test_the_axis_ends_at_a_round_number_that_is_not_far_above(most: float, kind: Kind) -> None:
    top = nice_top(most, kind)
    assert most * (1 - 1e-9) <= top <= 2 * most


@given(st.floats(1e-6, 1e6), st.sampled_from([Kind.CPU, Kind.REQUESTS]))
def test_no_two_heights_are_labelled_alike(most: float, kind: Kind) -> None:
    top = nice_top(most, kind)
    labels = level_labels(kind, [top, 0.75 * top, 0.5 * top, 0.25 * top])
    assert len(set(labels)) == 4
