"""Hosts full of tenants, as drawn by Hypothesis: what one resource's allocation is asked with.

Amounts are in units of which a host has between a thousandth and a thousand; `scale` turns them
into cores or bytes, so that laws meet both small and large numbers.
"""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from agent.allocation import Allocation, Claims, Mode, allocate
from agent.emergency import EmergencySettings, Grants
from agent.settings import DEFAULT_QOS
from agent.tenant import Floats, QosClass, Terms
from forecast.profile import LEVELS

LADDER = DEFAULT_QOS  # highest class first
PLATINUM, GOLD, SILVER = LADDER
ROUNDING = 1e-9  # relative: what law 1 allows sums of floats to be off by
GIB = float(1 << 30)
EMERGENCY = EmergencySettings()


@dataclass(frozen=True)
class Guest:
    """One tenant: its promise, its forecast (low + width * level ** power) and its state."""

    qos: QosClass = SILVER
    weight: float = 1.0
    floor: float = 0.0
    ceiling: float = 1e3
    low: float = 0.0
    width: float = 1.0
    power: float = 1.0
    mean: float = 0.5  # where in its interval the expectation lies
    demand: float = 0.0
    credit: float = 0.0
    hold: float = 0.0
    is_hit: bool = False
    is_present: bool = True

    @property
    def grid(self) -> Floats:
        """Return the quantiles of the next step's demand, shape (levels,)."""
        return np.maximum(self.low + self.width * LEVELS**self.power, 0.0)

    @property
    def expected(self) -> float:
        """Return the expected demand."""
        return self.low + self.width * self.mean

    def demanding(self, place: float) -> "Guest":
        """Return the guest with its demand at a place in its forecast interval: 0.5 is half-way."""
        return replace(self, demand=self.low + self.width * place)


@dataclass(frozen=True)
class Host:
    """Guests who share `capacity` of one resource."""

    guests: tuple[Guest, ...]
    capacity: float
    mode: Mode = Mode.STRICT
    scale: float = 1.0
    emergency: EmergencySettings = EMERGENCY

    @property
    def total(self) -> float:
        """Return the capacity in base units."""
        return self.capacity * self.scale

    def column(self, name: str, scale: float = 1.0) -> Floats:
        """Return one number of every guest, shape (tenants,)."""
        return np.array([getattr(guest, name) for guest in self.guests], dtype=np.float64) * scale

    def changed(self, position: int, **changes: object) -> "Host":
        """Return the host with one guest changed."""
        guests = list(self.guests)
        guests[position] = replace(guests[position], **changes)  # type: ignore[arg-type]
        return replace(self, guests=tuple(guests))

    def terms(self) -> Terms:
        """Return the promises as columns."""
        return Terms(
            floor=self.column("floor", self.scale),
            ceiling=self.column("ceiling", self.scale),
            weight=np.array([g.weight * g.qos.weight for g in self.guests], dtype=np.float64),
            risk_aversion=np.array([g.qos.risk_aversion for g in self.guests], dtype=np.float64),
            emergency_rank=np.array([g.qos.emergency_rank for g in self.guests], dtype=np.int64),
            burst_s=np.array([g.qos.burst_s for g in self.guests], dtype=np.float64),
        )

    def claims(self) -> Claims:
        """Return what the cycle would ask the allocation with."""
        terms = self.terms()
        is_present = self.column("is_present") > 0
        ceiling = np.where(is_present, np.minimum(terms.ceiling, 4 * self.total), 0.0)
        grid = np.stack([g.grid for g in self.guests], axis=1) if self.guests else _no_grid()
        return Claims(
            terms=terms,
            ceiling=ceiling,
            expected=np.minimum(self.column("expected", self.scale), ceiling),
            levels=LEVELS,
            grid=np.minimum(grid * self.scale, ceiling),
            demand=self.column("demand", self.scale),
            is_hit=self.column("is_hit") > 0,
            is_enforced=np.ones(len(self.guests), dtype=np.bool_),
            credit=self.column("credit"),
            least=np.minimum(1e-9 * self.scale, ceiling),
            hold=np.minimum(self.column("hold", self.scale), ceiling),
        )

    def allocated(
        self,
        *,
        claims: Claims | None = None,
        grants: Grants | None = None,
        is_pool_withheld: bool = False,
    ) -> Allocation:
        """Divide the capacity, by the guests' own claims or by altered ones."""
        return allocate(
            claims or self.claims(),
            capacity=self.total,
            mode=self.mode,
            emergency=self.emergency,
            grants=grants or Grants.none(len(self.guests)),
            is_pool_withheld=is_pool_withheld,
        )


def _no_grid() -> Floats:
    return np.zeros((len(LEVELS), 0))


# Each tenant is one drawn integer, read as digits into these tables: one draw a tenant is many
# times faster than one a field, and still shrinks towards 0, the plainest tenant.  Zeros, equal
# values, thirds (which no float holds exactly) and, on a host in two, ratios of a million to one.
_EVEN = (1.0, 0.5, 1 / 3, 2.0, 1.0, 4.0, 0.1, 0.0)
_UNEVEN = (1.0, 0.5, 1 / 3, 2.0, 1e-3, 1e3, 0.1, 0.0)
_AMOUNT = "amount"
_DIGITS: dict[str, str | tuple[object, ...]] = {
    "qos": (SILVER, GOLD, PLATINUM),
    "is_present": (True, True, True, False),
    "demand": (0.0, float("nan"), 0.7, 1e3),
    "low": (0.0, 0.0, 0.0, 0.5, 1.0, 1 / 3),
    "width": _AMOUNT,
    "floor": (0.0, 0.0, 0.0, 0.0, 0.1, 1 / 3, 1.0),
    "ceiling": (float("inf"), 4.0, 2.0, 8.0, 1.0, 0.5, 0.0),
    "weight": (1.0, 1.0, 2.0, 1 / 3),
    "mean": (0.5, 0.1, 0.3, 0.9, 0.97, 0.0),
    "power": (1.0, 2.0, 5.0, 0.2, 60.0),
    "is_hit": (False, True),
    "credit": (0.0, 1.0, -1.0, 0.5, -0.01),
    "hold": (*(0.0,) * 30, 0.5, 1e3),
    "surprise": (0.5, 0.9, 0.1, None, 0.7, 0.96, 1.5),  # demand as a place in the forecast interval
}
_UNEVEN_DIGITS = _DIGITS | {"weight": (1.0, 1e-3, 1e3, 1 / 3)}
_JITTER = 8
NUMBERS = st.integers(0, 2**64 - 1)  # more than all the digits together


def mixed(number: int) -> int:
    """Spread a drawn number over all its digits: Hypothesis prefers small ones.  0 stays 0."""
    return (number * 0x9E3779B97F4A7C15) % 2**64


def _guest(number: int, *, is_even: bool = True) -> Guest:
    """Read a drawn integer as a tenant; amounts vary by up to an eighth, floor <= ceiling."""
    fields: dict[str, object] = {}
    number, amounts = mixed(number), _EVEN if is_even else _UNEVEN
    for name, table in (_DIGITS if is_even else _UNEVEN_DIGITS).items():
        if table == _AMOUNT:
            number, digit = divmod(number, len(amounts))
            number, jitter = divmod(number, _JITTER)
            fields[name] = amounts[digit] * (1 + jitter / 64)
        else:
            number, digit = divmod(number, len(table))
            fields[name] = table[digit]
    surprise = fields.pop("surprise")
    guest = Guest(**fields)  # type: ignore[arg-type]
    if isinstance(surprise, float):
        guest = guest.demanding(surprise)
    return replace(guest, ceiling=max(guest.floor, guest.ceiling))


guests = NUMBERS.map(_guest)


@st.composite
def hosts(
    draw: st.DrawFn,
    *,
    modes: tuple[Mode, ...] = tuple(Mode),
    min_guests: int = 0,
    max_guests: int = 30,
) -> Host:
    """Draw a host: idle or short, its floors summing to less than the capacity, to it, or to more.

    (Floors are checked when they are configured; then a CPU goes offline.)
    """
    is_even = draw(st.booleans())
    numbers = draw(st.lists(NUMBERS, min_size=min_guests, max_size=max_guests))
    who = tuple(_guest(number, is_even=is_even) for number in numbers)
    present = [guest for guest in who if guest.is_present]
    floors = float(np.array([guest.floor for guest in present]).sum())
    expected = float(np.array([min(guest.expected, guest.ceiling) for guest in present]).sum())
    basis, factor = draw(
        st.sampled_from(
            [(expected, part) for part in (1.0, 0.9, 1.2, 1.5, 0.7)]
            + [(floors, part) for part in (1.0, 0.5, 4.0)]
            + [(1.0, part) for part in (1.0, 64.0)]
        )
    )
    return Host(
        guests=who,
        capacity=basis * factor or 1.0,
        mode=draw(st.sampled_from(modes)),
        scale=draw(st.sampled_from((1.0, GIB))),
        emergency=EmergencySettings(draw(st.sampled_from((0.05, 0.05, 0.3, 0.0)))),
    )
