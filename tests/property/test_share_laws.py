"""Law 2, kept by the kernel: cpu.weight and memory.low hold each guarantee in a contest."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.fairness import levelled
from agent.plan import KERNEL_ROUNDING
from agent.shares import kernel_weights, lacking_fraction, moved_lows, moved_rates, moved_weights
from agent.tenant import Floats
from enforce.columns import Changes, ClassControl

from hosts import Host, hosts

RATE = ClassControl("eth0", "out", "rate")
SEEDS = st.integers(0, 2**32)
SIZES = st.sampled_from((1, 4, 100, 1000, 3000, 10_000))


def promises(seed: int, size: int) -> tuple[Floats, Floats]:
    """Return guarantees of up to 95 % of one core, uneven as incomes are, and its shares."""
    chance = np.random.default_rng(seed)
    guaranteed = chance.pareto(chance.uniform(0.5, 3.0), size) * (chance.random(size) < 0.7)
    guaranteed *= 0.95 * chance.random() / max(guaranteed.sum(), 1e-9)
    weight = chance.choice((1.0, 4.0, 8.0), size)
    return guaranteed, levelled(1.0, least=guaranteed, weight=weight)


@given(SEEDS, SIZES)
def test_weights_keep_every_guarantee_that_whole_numbers_can_express(seed: int, size: int) -> None:
    """But for what weight 1 gives to too many, and no weight above 10,000 can make up for."""
    guaranteed, share = promises(seed, size)
    weight = kernel_weights(share, guaranteed, 1.0)
    assert np.all((weight >= 1) & (weight <= 10_000) & (weight == np.round(weight)))
    lacking = lacking_fraction(weight, guaranteed, 1.0)
    # A fraction rounded up costs all the others its part of the sum, which the others' guarantees
    # grow with: beyond what it should be the sum is at most a weight of 1 each, and their part.
    rounded_up = size / weight.sum() / (1.0 - (guaranteed.sum() - guaranteed.max()))
    assert lacking.max() <= KERNEL_ROUNDING + rounded_up


@given(SEEDS, SIZES, st.floats(0.3, 0.7))
def test_many_small_tenants_do_not_eat_a_large_guarantee(
    seed: int, size: int, large: float
) -> None:
    """Beside `size` others of weight 1, no weight can promise more than 10,000 of all."""
    large = min(large, 10_000 / (10_000 + size))
    guaranteed = np.append(np.zeros(size), large)
    weight = np.append(np.random.default_rng(seed).choice((1.0, 4.0, 8.0), size), 1.0)
    share = levelled(1.0, least=guaranteed, weight=weight)
    weight = kernel_weights(share, guaranteed, 1.0)
    assert lacking_fraction(weight, guaranteed, 1.0)[-1] <= KERNEL_ROUNDING


@given(hosts())
def test_weights_follow_shares_of_any_host(host: Host) -> None:
    """Within a tenth, for a hundredth of a host or more."""
    allocation = host.allocated()
    weight = kernel_weights(allocation.share, allocation.promised, host.total)
    counts = allocation.share >= 0.01 * host.total
    kept = weight / max(weight.sum(), 1.0) * host.total
    assert np.all(kept[counts] >= 0.9 * allocation.share[counts])


@given(SEEDS, SIZES, st.sampled_from((0.0, 0.02, 0.09, 0.5)))
def test_no_dead_band_leaves_a_guarantee_short(seed: int, size: int, off: float) -> None:
    """Whatever stands in the kernel: after one tick's writes all is as good as decided."""
    guaranteed, share = promises(seed, size)
    wanted = kernel_weights(share, guaranteed, 1.0)
    chance = np.random.default_rng(seed)
    in_force = np.clip(np.round(wanted * chance.uniform(1 - off, 1 + off, size)), 1, 10_000)
    may_write = np.ones(size, dtype=np.bool_)
    changes = moved_weights(wanted, in_force, may_write, guaranteed=guaranteed, capacity=1.0)
    after = in_force.copy()
    after[changes.tenant] = changes.after
    best = lacking_fraction(wanted, guaranteed, 1.0).max()
    assert lacking_fraction(after, guaranteed, 1.0).max() <= max(best, KERNEL_ROUNDING)
    low, held = guaranteed * 2**30, guaranteed * 2**30 * chance.uniform(1 - off, 1 + off, size)
    lows = moved_lows(low, held, may_write)
    held[lows.tenant] = lows.after
    assert np.all(held >= low * (1 - KERNEL_ROUNDING))


@given(
    SEEDS,
    st.sampled_from((2, 4, 100, 1000)),
    st.floats(1e3, 1e10),
    st.booleans(),
    st.sampled_from((0.0, 0.5, 1.0)),
)
def test_rates_keep_every_guarantee_and_add_up_to_at_most_the_capacity(
    seed: int, size: int, capacity: float, is_near: bool, adopted: float
) -> None:
    """Whatever is in force, as long as it fitted: the sum never exceeds the capacity on the way.

    Also where all is handed out, and every change is below the dead-band.  What was adopted falls
    only where what is promised to others would not fit beside it.
    """
    before, after = (capacity * promises(seed + k, size)[0] for k in range(2))
    if is_near:
        chance = np.random.default_rng(seed)
        before, after = chance.random(size) + 1.0, np.empty(0)
        before *= capacity / before.sum()
        after = before * chance.uniform(0.95, 1.05, size)
        after *= capacity / after.sum()
    everyone = np.ones(size, dtype=np.bool_)
    is_adopted = np.random.default_rng(seed + 2).random(size) < adopted

    def moved(before: Floats) -> Changes:
        return moved_rates(RATE, after, before, everyone, is_adopted=is_adopted, capacity=capacity)

    changes = moved(before)
    now = before.copy()
    for tenant, value in zip(changes.tenant.tolist(), changes.after.tolist(), strict=True):
        now[tenant] = value
        assert now.sum() <= capacity * (1 + 1e-9)
    assert np.all(now >= after * (1 - KERNEL_ROUNDING) - 1e-9)
    assert len(moved(now)) == 0
    has_fallen = is_adopted & (now < before)
    if has_fallen.any():
        assert np.where(has_fallen, before, now).sum() > capacity * (1 - 1e-9)
