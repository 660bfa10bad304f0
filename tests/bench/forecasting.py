"""Measures the forecaster of N tenants: the cost of a step, of a model's fit, and its memory.

forecasting.py RESULT_FILE N
"""

import json
import sys
from pathlib import Path

import numpy as np
from timing import median_ms, memory_mib, progress

from forecast.core import ForecastCore
from forecast.ets import MODELS
from forecast.settings import ForecastSettings

RESOURCES = 5
FIT_SERIES = 100
STEPS = 9


def main() -> None:
    """Measure one size in this process, and write the result."""
    result, count = Path(sys.argv[1]), int(sys.argv[2]) * RESOURCES
    settings = ForecastSettings()
    random = np.random.default_rng(7)
    size = random.gamma(0.7, 1.0, count)
    core = ForecastCore(count, settings, MODELS)
    progress(f"forecasting {count} series: learning {settings.history_steps} steps")
    for _ in range(settings.history_steps):
        core.learn(size * random.lognormal(0.0, 0.3, count))
    fit_ms = median_ms(lambda: core.refit(core.due()[:FIT_SERIES]), 5) / FIT_SERIES
    step = iter(range(settings.history_steps, 10**9))
    values = size * random.lognormal(0.0, 0.3, count)
    step_ms = median_ms(lambda: core.observe(next(step), values), STEPS)
    # Refits are spread over their period, and stretched where they would cost more than allowed.
    fits_share = count * fit_ms / 1e3 / settings.refit_s
    said = {
        "tenants": count // RESOURCES,
        "series": count,
        "step_ms": step_ms,
        "fit_ms": fit_ms,
        "share_pct": 100 * (step_ms / 1e3 / settings.step_s + fits_share),
        "all_refitted_s": count * fit_ms / 1e3 / settings.refit_share,
        "peak_rss_mib": memory_mib("VmHWM"),
    }
    result.write_text(json.dumps(said))


if __name__ == "__main__":
    main()
