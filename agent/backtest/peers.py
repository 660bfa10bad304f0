"""What others use to size limits, each from its public description, to be compared with.  Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from agent.backtest.recommenders import HOUR_S, autopilot, koordlet, vpa
from agent.backtest.windows import Highest, MeanAndSpread, Quantile
from agent.tenant import BASIC, Bools, Floats, Resource

# Takes each tenant's newest value and whether there is one; NaN where it cannot tell yet.
Estimator = Callable[[Floats, Bools], Floats]

_LAST_FACTOR = 1.2
_MAXIMUM_HOURS = (1, 3, 24)  # on recorded traces each leaves least somewhere
_BORG_FRACTION = 0.9
_SIGMAS = 5.0
_RC_LEVEL = 0.99
_SIGMA_HISTORY_S = 2 * HOUR_S
_RC_HISTORY_S = 5 * HOUR_S
_WARM_UP_S = 2 * HOUR_S


class Peer(Protocol):
    """A rule that sizes limits, fed step by step with what all tenants wanted."""

    def observe(self, demand: Floats) -> Floats:
        """Take in what each tenant wanted in the last step (tenants,), NaN where unknown.

        Return the limit that is recommended for the next step, not capped to any capacity.
        """


class Build(Protocol):
    """How a peer is made for tenants of a host."""

    def __call__(
        self, ceiling: Floats, step_s: float, resource: Resource = Resource.CPU, /
    ) -> Peer:
        """Return a peer that knows nothing yet; ceilings (tenants,) are finite."""


@dataclass(frozen=True, slots=True)
class PeerKind:
    """One way to size limits: its name on the command line and where it is described."""

    name: str
    source: str
    build: Build
    resources: tuple[Resource, ...] = ()  # of which it is described; none where of any


class Steady:
    """A peer that recommends the ceiling until it can tell, and stands still in gaps."""

    def __init__(self, ceiling: Floats, estimator: Estimator) -> None:
        self._limit, self._estimator = ceiling.astype(np.float64), estimator

    def observe(self, demand: Floats) -> Floats:
        """Return the newest estimates, the last ones of tenants that have none now."""
        is_known = np.isfinite(demand)
        estimate = self._estimator(np.where(is_known, demand, 0.0), is_known)
        self._limit = np.where(is_known & np.isfinite(estimate), estimate, self._limit)
        return self._limit.copy()


def _peer(estimator_of: Callable[[Floats, float, Resource], Estimator]) -> Build:
    """Return how to build the peer around an estimator."""

    def build(ceiling: Floats, step_s: float, resource: Resource = Resource.CPU, /) -> Peer:
        return Steady(ceiling, estimator_of(ceiling, step_s, resource))

    return build


def _steps(duration_s: float, step_s: float) -> int:
    return max(round(duration_s / step_s), 1)


def _static(ceiling: Floats, _step_s: float, _resource: Resource) -> Estimator:
    return lambda _demand, _is_known: ceiling


def _last(_ceiling: Floats, _step_s: float, _resource: Resource) -> Estimator:
    return lambda demand, _is_known: _LAST_FACTOR * demand


def _highest_of(hours: int) -> Callable[[Floats, float, Resource], Estimator]:
    """Return how to build the estimator of the maximum over so many hours."""

    def estimator(ceiling: Floats, step_s: float, _resource: Resource) -> Estimator:
        return Highest(len(ceiling), _steps(hours * HOUR_S, step_s))

    return estimator


def _borg_default(ceiling: Floats, _step_s: float, _resource: Resource) -> Estimator:
    return lambda _demand, _is_known: _BORG_FRACTION * ceiling


def _n_sigma(ceiling: Floats, step_s: float, _resource: Resource) -> Estimator:
    size, least = _steps(_SIGMA_HISTORY_S, step_s), _steps(_WARM_UP_S, step_s)
    return MeanAndSpread(len(ceiling), size, least=least, n=_SIGMAS)


def _rc_like(ceiling: Floats, step_s: float, _resource: Resource) -> Estimator:
    size, least = _steps(_RC_HISTORY_S, step_s), _steps(_WARM_UP_S, step_s)
    return Quantile(len(ceiling), size, least=least, level=_RC_LEVEL)


def _max_predictors(ceiling: Floats, step_s: float, resource: Resource) -> Estimator:
    sigma, percentile = _n_sigma(ceiling, step_s, resource), _rc_like(ceiling, step_s, resource)
    return lambda demand, known: np.maximum(sigma(demand, known), percentile(demand, known))


_EUROSYS21 = (
    "Bashir et al., 'Take it to the limit: peak prediction-driven resource overcommitment in "
    "datacenters', EuroSys 2021"
)
PEERS: tuple[PeerKind, ...] = (
    PeerKind(
        "static",
        "fixed caps, as hosting panels and VM sizes set them: the tenant's own ceiling",
        _peer(_static),
    ),
    PeerKind(
        "last",
        "the last value plus 20 %: the naive forecast, with a margin chosen here",
        _peer(_last),
    ),
    *(
        PeerKind(
            f"max-{hours}h",
            f"the maximum over the last {hours} h of known values, a rule of thumb of operators",
            _peer(_highest_of(hours)),
        )
        for hours in _MAXIMUM_HOURS
    ),
    PeerKind(
        "n-sigma",
        f"{_EUROSYS21}: mean + 5 sample standard deviations, window and warm-up of 2 h (its "
        "simulator's documented example, googleinterns/cluster-resource-forecast: 24 samples of "
        "5 min); there of a machine's sum, here of each tenant",
        _peer(_n_sigma),
    ),
    PeerKind(
        "borg-default",
        f"{_EUROSYS21}: a fixed fraction of the limit, 0.9, whatever is used",
        _peer(_borg_default),
    ),
    PeerKind(
        "rc-like",
        f"{_EUROSYS21}, after Cortez et al., 'Resource Central', SOSP 2017: the 99th percentile "
        "of each tenant's own past, interpolated linearly as in the simulator; warm-up of 2 h as "
        "n-sigma. Window chosen here: 5 h; of 2, 5, 10 and 24 h the shorter left less unmet on "
        "recorded traces of tight hosts, but of 24 samples no percentile exceeds n-sigma",
        _peer(_rc_like),
    ),
    PeerKind(
        "max-predictors",
        f"{_EUROSYS21}: the larger of n-sigma and rc-like, which the paper recommends",
        _peer(_max_predictors),
    ),
    PeerKind(
        "vpa",
        "Kubernetes Vertical Pod Autoscaler, its recommender's source and flags' defaults: 90th "
        "percentile of a decaying histogram (half-life 24 h, buckets from 0.01 cores or 10 MB "
        "growing by 5 %), +15 %, at least 0.025 cores or 250 MiB; memory: of each day's peak. "
        "A cpu value weighs as much as the request, at least 0.1: here the last target, as if "
        "applied at once, at first the ceiling. Its epsilon, which empties buckets that weigh next "
        "to nothing, does not matter at 90 % and is left out",
        _peer(vpa),
        BASIC,
    ),
    PeerKind(
        "koordinator",
        "Koordinator, koordlet's peak prediction of a pod, its source and flags' defaults: p95 for "
        "cpu, p98 for memory of a decaying histogram (half-life 12 h and 24 h, buckets from 0.025 "
        "cores or 5 MiB growing by 5 %), +10 %; in its first 24 h a pod keeps its request. The "
        "node-wide prediction beside it, which is for all pods' sum, is left out",
        _peer(koordlet),
        BASIC,
    ),
    PeerKind(
        "autopilot",
        "Rzadca et al., 'Autopilot: workload autoscaling at Google', EuroSys 2020, moving window "
        "recommender: decaying weights (half-life 12 h for cpu, 48 h for memory), load-adjusted "
        "95th percentile (serving jobs' cpu) or 98th (most jobs' memory), margin 10-15 %, maximum "
        "of the last hour's recommendations. Chosen here, since left open: 400 buckets up to twice "
        "the ceiling, each 2 % wider; a margin of 15 % that shrinks to 10 % at the ceiling",
        _peer(autopilot),
    ),
)
