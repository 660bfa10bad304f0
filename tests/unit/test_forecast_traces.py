"""Coverage on recorded traces, with the naive rule's pinball loss beside it."""

import numpy as np
import pytest
from series import maxima_ahead, pinball, profiles, share_held, trace

from forecast.settings import ForecastSettings

HORIZON = 3


@pytest.mark.parametrize(
    ("name", "column", "tenants"),
    [
        ("azure", "cpu_cores", 10),
        ("bitbrains", "cpu_cores", 40),
        ("bitbrains", "mem_bytes", 20),
        ("google", "cpu_cores", 100),
        ("planetlab", "cpu_cores", 100),
    ],
)
def test_the_95_percent_bound_on_15_minutes_covers_recorded_tenants(
    name: str, column: str, tenants: int
) -> None:
    values = trace(name, column, steps=864)
    values = values[:, :: max(1, values.shape[1] // tenants)]
    settings = ForecastSettings(step_s=300, horizon_steps=HORIZON, history_steps=144)
    made = profiles(values, settings, fits_per_step=max(1, values.shape[1] // 12))
    late = slice(len(values) // 2, -HORIZON)
    ahead = maxima_ahead(values, HORIZON)[len(values) // 2 :]
    upper = np.stack([p.upper for p in made])[late]
    assert share_held(ahead, upper) == pytest.approx(0.95, abs=0.02)
    # The best that "as much as now" can do, given the fixed margin that suits this trace best.
    naive = min(pinball(ahead, factor * values[late], 0.95) for factor in np.linspace(1, 4, 31))
    assert pinball(ahead, upper, 0.95) < naive
