"""Forecaster children of the tests' choosing, and bounded waits for what they do."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from agent.forecaster import Forecaster
from forecast.profile import Profile

WAIT_S = 60.0  # far above what anything here takes

# The real worker around a fit of one line: starts in 0.2 s, since it loads no model library.
_QUICK = """
from functools import partial
import numpy as np
from forecast.core import ForecastCore
from forecast.models import LevelFits, Models, TrendFits
from forecast.worker import main
def level(history):
    ones = np.ones(history.shape[1])
    return LevelFits(0.5 * ones, history[-1].astype(float), 0.1 * ones)
def trend(history):
    return TrendFits(*np.full((5, history.shape[1]), np.nan))
main(lambda: partial(ForecastCore, models=Models(level, trend, daily=None)))
"""


def python(script: str) -> tuple[str, ...]:
    """Return the command that runs a script as isolated as the real child."""
    return (sys.executable, "-I", "-c", script)


QUICK = python(_QUICK)
SILENT = python("import time; time.sleep(600)")
MUTE_AFTER_HELLO = python(
    "import time; from forecast.message import Hello; from forecast.worker import send;"
    "send(1, Hello()); time.sleep(600)"
)


def wait_until(is_so: Callable[[], object], what: str) -> None:
    """Wait until something is so, at most a minute."""
    until_s = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < until_s, f"waited {WAIT_S:g} s in vain until {what}"
        time.sleep(0.01)


def polled(forecaster: Forecaster, now_s: float, step: int) -> Profile:
    """Poll, with the agent's clock standing still, until the profile of `step` has arrived."""

    def has_arrived() -> bool:
        profile = forecaster.poll(now_s)
        return profile is not None and profile.step == step

    wait_until(has_arrived, f"step {step} is answered ({forecaster.problem})")
    profile = forecaster.poll(now_s)
    assert profile is not None
    return profile


def values(n_series: int, step: int) -> np.ndarray:
    """Return a step of gently varying demand."""
    return np.linspace(1, 2, n_series) + 0.1 * np.sin(step + np.arange(n_series))


def process_state(pid: int) -> str:
    """Return the kernel's letter for a process ("R", "S", "T", ...), "" when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return ""
    return stat.rpartition(")")[2].split()[0]
