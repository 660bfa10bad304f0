"""The ledger: what each tenant was issued, spent, banked and let expire.  Pure.

One token is one unit of a spent resource (a core-second of CPU, a byte read).  A balance buys
priority in the opportunistic pool, never capacity; below zero it is a debt, repaid from what the
tenant leaves of the tokens that come in later.  Who leaves some of them for long may bank more.
"""

from dataclasses import dataclass, fields

import numpy as np

from agent.tenant import Floats, Ints, carried_over

# A bank that pays for a whole step of what is expected in it is worth all that a bank can be.
_FULL_CREDIT_S = 60.0
_LEAST = 1e-9  # any bank lasts as good as for ever where nothing is expected
# A bank grows over an hour of saving, at most to twice the class's, and falls faster than it grew.
MOST_ALLOWANCE = 2.0
_SAVING_S = 3600.0
_OVERSPENDING_S = 600.0
# Balance buys priority: a full bank doubles a tenant's weight in certain shortage, full debt leaves
# it a quarter.  With a debt's base of 16, 4 and 1.5, strict limits left 11.5, 8.6 and 7.8 % of
# demand unmet on a trace at 0.9 x its peak.  In elastic mode who had kept within its share lost
# nothing with 16 nor with 4, so that 4 protects it as well and wastes less.
_CREDIT_BASE, _DEBT_BASE = 2.0, 4.0
# The deepest debt keeps half of what is guaranteed beyond the floor: with nothing, a steady tenant
# among bursty ones stood at 1 % of a core in every tenth to fourth step, and a host was no less
# crowded for it (unmet demand on traces changed by less than a hundredth).
_MOST_FORFEITED = 0.5


@dataclass(frozen=True, slots=True)
class Ledger:
    """Tokens of one resource, shape (tenants,); issued, spent and expired are running totals.

    Law 1 (conservation): issued = spent + expired + (balance - opening balance).
    `left_fraction` is the share of the tokens that came in left over of late, from 0 to 1.
    """

    balance: Floats
    issued: Floats
    spent: Floats
    expired: Floats
    left_fraction: Floats

    @classmethod
    def opened(cls, tenants: int) -> "Ledger":
        """Return a ledger in which nobody has or owes anything."""
        return cls(*(np.zeros(tenants) for _ in range(len(fields(cls)))))

    def rearranged(self, positions: Ints) -> "Ledger":
        """Return the ledger in the order of a new roster; newcomers open at zero."""
        columns = (getattr(self, one.name) for one in fields(self))
        return Ledger(*(carried_over(column, positions, 0.0) for column in columns))

    @property
    def allowance(self) -> Floats:
        """Return how many times the burst of its class each tenant may bank: 1 to 2."""
        return allowance(self.left_fraction)


def allowance(left_fraction: Floats) -> Floats:
    """Return how many times the burst of its class who leaves so much may bank.

    1 + left_fraction: who leaves all of its tokens for long may bank twice as many.
    """
    return 1.0 + (MOST_ALLOWANCE - 1.0) * left_fraction


def settled(
    ledger: Ledger, *, income: Floats, usage: Floats, burst: Floats, elapsed_s: float
) -> Ledger:
    """Book `elapsed_s` seconds at `income` and `usage` units per second.

    What is left of the tokens that come in is banked up to `burst` tokens times the allowance, the
    rest expires.  What is used beyond them is drawn from the balance, into debt as deep as `burst`;
    beyond that the opportunistic pool has issued it for nothing.  A tenant of unknowable usage
    (NaN) is left as it is: nothing issued, nothing spent.
    """
    known = np.isfinite(usage)
    came = np.where(known, income, 0.0) * elapsed_s
    spent = np.where(known, usage, 0.0) * elapsed_s
    before = ledger.balance
    unbounded = before + came - spent
    after = np.minimum(np.maximum(unbounded, -burst), burst * ledger.allowance)
    after = np.where(known, after, before)
    surplus = unbounded - after  # > 0 did not fit the bank, < 0 beyond all debt
    return Ledger(
        balance=after,
        issued=ledger.issued + came + np.maximum(-surplus, 0.0),
        spent=ledger.spent + spent,
        expired=ledger.expired + np.maximum(surplus, 0.0),
        left_fraction=_left_of_late(ledger.left_fraction, came, spent, elapsed_s),
    )


def _left_of_late(before: Floats, income: Floats, spent: Floats, elapsed_s: float) -> Floats:
    """Return the smoothed share of the tokens that came in which is left over.

    share = (income - spent) / income, at least -1; f' = (f + (1 - exp(-elapsed / T)) (share - f))+,
    with T an hour, or ten minutes where more was spent than came in.  Without income it stays.
    """
    has_income = income > 0
    share = np.divide(income - spent, income, out=before.copy(), where=has_income)
    share = np.maximum(share, -1.0)
    lasts_s = np.where(share < 0, _OVERSPENDING_S, _SAVING_S)
    return np.maximum(before - np.expm1(-elapsed_s / lasts_s) * (share - before), 0.0)


def credit_of(balance: Floats, *, burst: Floats, expected: Floats) -> Floats:
    """Return what balances are worth as priority, from -1 (as deep in debt as can be) to 1.

    A debt counts as a part of the burst, a bank by how long it pays for the expected demand:
    both are worth no less to a higher class or weight, whose burst is larger (law 5).
    """
    most = np.where(balance < 0, burst, _FULL_CREDIT_S * np.maximum(expected, _LEAST))
    worth = np.divide(balance, most, out=np.zeros_like(balance), where=burst > 0)
    return np.minimum(np.maximum(worth, -1.0), 1.0)


def priority(credit: Floats) -> Floats:
    """Return the factor, rising with the credit, by which it multiplies a tenant's weight.

    `credit` comes times the pressure: while there is enough for all, a debt costs nothing.
    """
    base = np.where(credit >= 0, _CREDIT_BASE, _DEBT_BASE)
    return np.power(base, credit)


def most_forfeited(crowding: float) -> float:
    """Return the part of what is beyond its floor that the deepest debt takes back."""
    return _MOST_FORFEITED * crowding


def forfeited(most: float, credit: Floats) -> Floats:
    """Return that part of each tenant: `most` in the deepest debt, without any nothing."""
    return most * np.fmax(-credit, 0.0)
