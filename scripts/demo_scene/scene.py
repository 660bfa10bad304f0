"""The CPU's scene, the same under every regime: who is there, what each wants and when.  Pure.

Nothing here knows a regime: whatever control there is, the tenants want exactly this.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Role:
    """One tenant and what it was sold: floors, and the share by which fixed caps are set."""

    name: str
    qos: str
    floor_cores: float
    share_cores: float  # a careful operator's: room for the peaks, all together the host
    floor_bytes: int
    share_bytes: int
    does: str


WEB = Role(
    "web",
    "platinum",
    0.40,
    0.65,
    60 * MIB,
    88 * MIB,
    "answers requests: reads its pages, packs them",
)
REPORT = Role(
    "report", "gold", 0.15, 0.17, 16 * MIB, 24 * MIB, "a report every 6 s, of use within 5 s"
)
HOG = Role(
    "hog", "silver", 0.05, 0.08, 16 * MIB, 24 * MIB, "burns all the CPU that it can get, always"
)
EATER = Role(
    "eater", "silver", 0.10, 0.10, 40 * MIB, 72 * MIB, "scans more data than fits, at a steady pace"
)
ROLES = (WEB, REPORT, HOG, EATER)
NAMES = tuple(role.name for role in ROLES)

HOST_CORES = 1.0
HOST_MEMORY_BYTES = sum(role.share_bytes for role in ROLES)
# The baseline of common cloud volumes; the lab's own disk is its host's page cache, faster still.
DISK_READS_PER_S = 3000
DISK_READ_BYTES_PER_S = 125_000_000

TIDE_S = 12.0  # quiet, rise, surge, fall: then again
PRELUDE_S = TIDE_S  # the first tide warms caches and forecasts, and is not counted
COUNTED_S = 2 * TIDE_S
QUIET_CORES = 0.20
SURGE_CORES = 0.50
_TIDE = ((0.0, QUIET_CORES), (5.0, QUIET_CORES), (6.0, SURGE_CORES), (11.0, SURGE_CORES))

REQUEST_TIMEOUT_S = 2.0  # then the visitor is gone
REPORT_EVERY_S = 6.0
REPORT_WITHIN_S = 5.0
REPORT_CORE_S = 0.6
HOG_CORES = HOST_CORES  # it would take the whole host
SCAN_BYTES_PER_S = 40 * MIB
WEB_FILE_BYTES = 64 * MIB
SCAN_FILE_BYTES = 320 * MIB
SCAN_TABLE_BYTES = 24 * MIB  # the eater's anonymous memory


def web_demand_cores(at_s: float) -> float:
    """Return the CPU that the web service's visitors ask for, `at_s` into the scene."""
    phase_s = at_s % TIDE_S
    points = (*_TIDE, (TIDE_S, QUIET_CORES))
    for (left_s, left), (right_s, right) in pairwise(points):
        if phase_s <= right_s:
            return left + (right - left) * (phase_s - left_s) / (right_s - left_s)
    return QUIET_CORES


def arrivals_s(request_core_s: float, *, seed: int = 1) -> tuple[float, ...]:
    """Return when requests arrive: Poisson at the tide's rate, the same for one seed.

    `request_core_s` is what one request costs, so that the tide is the same on any machine.
    """
    draw = random.Random(seed)
    most = poisson_s(SURGE_CORES / request_core_s, until_s=PRELUDE_S + COUNTED_S, draw=draw)
    return tuple(at_s for at_s in most if draw.random() * SURGE_CORES < web_demand_cores(at_s))


def poisson_s(rate_per_s: float, *, until_s: float, draw: random.Random) -> Iterator[float]:
    """Yield the moments of a Poisson process of one rate."""
    at_s = draw.expovariate(rate_per_s)
    while at_s < until_s:
        yield at_s
        at_s += draw.expovariate(rate_per_s)
