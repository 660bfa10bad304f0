"""All steps of a replay at once, as tests look at them."""

from dataclasses import dataclass

import numpy as np

from agent.backtest.engine import Setting, steps_of
from agent.backtest.host import Evidence
from agent.ports import Forecasting
from agent.tenant import Floats


@dataclass(frozen=True)
class Replay:
    """What became of demand, shape (steps, tenants): limits in force, and what was served."""

    limit: Floats
    served: Floats


def replayed(
    demand: Floats, setting: Setting, *, forecaster: Forecasting, evidence: Evidence
) -> Replay:
    """Run all of `demand` under the control loop; see `steps_of`."""
    steps = list(steps_of(demand, setting, forecaster=forecaster, evidence=evidence))
    return Replay(np.stack([s.limit for s in steps]), np.stack([s.served for s in steps]))
