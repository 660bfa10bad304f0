"""The rules that the backtest compares with, on examples worked out by hand."""

import numpy as np
import pytest

from agent.backtest.histogram import Buckets, DecayingHistogram
from agent.backtest.peers import PEERS, Peer
from agent.tenant import Floats, Resource

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
GIB = 2.0**30
NAMES = [kind.name for kind in PEERS]


def peer(
    name: str, ceiling: float = 8.0, step_s: float = 300.0, resource: Resource = Resource.CPU
) -> Peer:
    (kind,) = (kind for kind in PEERS if kind.name == name)
    return kind.build(np.array([ceiling]), step_s, resource)


def last_of(one: Peer, demand: list[float]) -> float:
    """Return what is recommended to the one tenant after all of its demand."""
    limit: Floats = np.full(1, np.nan)
    for value in demand:
        limit = one.observe(np.array([value]))
    return float(limit[0])


def bucket_end(value: float, first: float) -> float:
    """Return where the bucket of `value` ends, counting widths first, 1.05 first, ... up."""
    end, width = 0.0, first
    while end <= value:
        end, width = end + width, width * 1.05
    return end


def test_the_peers_are_the_ones_that_are_documented() -> None:
    assert NAMES == [
        "static",
        "last",
        "max-1h",
        "max-3h",
        "max-24h",
        "n-sigma",
        "borg-default",
        "rc-like",
        "max-predictors",
        "vpa",
        "koordinator",
        "autopilot",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_before_any_demand_is_known_the_ceiling_is_recommended(name: str) -> None:
    assert last_of(peer(name), [np.nan, np.nan]) == 8.0


@pytest.mark.parametrize("name", NAMES)
def test_a_gap_leaves_the_recommendation_as_it_was(name: str) -> None:
    past = [1.0, 3.0] * 200
    assert last_of(peer(name), [*past, np.nan, np.nan]) == last_of(peer(name), past)


def test_fixed_caps_stay_at_the_ceiling() -> None:
    assert last_of(peer("static"), [1.0, 20.0]) == 8.0


def test_borgs_default_is_nine_tenths_of_the_ceiling() -> None:
    assert last_of(peer("borg-default"), [1.0]) == pytest.approx(7.2)  # 0.9 x 8


def test_the_last_value_gets_a_fifth_on_top() -> None:
    assert last_of(peer("last"), [5.0, 2.0]) == pytest.approx(2.4)  # 1.2 x 2


# 4 steps are the whole window: {5, 1, 2, 3} first, then {1, 2, 3, 2}.
@pytest.mark.parametrize(
    ("name", "step_s"), [("max-1h", 900), ("max-3h", 2700), ("max-24h", 21600)]
)
def test_the_maximum_forgets_what_is_older_than_its_window(name: str, step_s: float) -> None:
    assert last_of(peer(name, step_s=step_s), [5.0, 1.0, 2.0, 3.0]) == 5.0
    assert last_of(peer(name, step_s=step_s), [5.0, 1.0, 2.0, 3.0, 2.0]) == 3.0


def test_n_sigma_is_the_mean_plus_five_sample_deviations() -> None:
    # Of 1 and 3: mean 2, variance ((1 - 2)^2 + (3 - 2)^2) / (2 - 1) = 2; 2 + 5 sqrt(2) = 9.07.
    assert last_of(peer("n-sigma", step_s=HOUR_S), [1.0, 3.0]) == pytest.approx(2 + 5 * 2**0.5)


def test_n_sigma_waits_two_hours_and_forgets_after_two() -> None:
    assert last_of(peer("n-sigma"), [1.0] * 23) == 8.0
    assert last_of(peer("n-sigma"), [1.0] * 24) == 1.0
    assert last_of(peer("n-sigma"), [9.0] * 50 + [1.0] * 24) == pytest.approx(1.0)
    assert last_of(peer("n-sigma"), [9.0] * 50 + [1.0] * 23) > 9.0


def test_the_percentile_of_the_past_is_interpolated() -> None:
    # Of 2 and 4: place 0.99 x (2 - 1) = 0.99 between them, 2 + 0.99 x (4 - 2) = 3.98.
    assert last_of(peer("rc-like", step_s=HOUR_S), [4.0, 2.0]) == pytest.approx(3.98)
    # Of 0 to 59: place 0.99 x 59 = 58.41.
    assert last_of(peer("rc-like"), [float(value) for value in range(60)]) == pytest.approx(58.41)


def test_the_percentile_waits_two_hours_and_forgets_after_five() -> None:
    assert last_of(peer("rc-like"), [1.0] * 23) == 8.0
    assert last_of(peer("rc-like"), [1.0] * 24) == 1.0
    assert last_of(peer("rc-like"), [9.0] + [1.0] * 59) > 1.0
    assert last_of(peer("rc-like"), [9.0] + [1.0] * 60) == 1.0


def test_the_larger_of_both_predictors_counts() -> None:
    # Of 1, 3: 2 + 5 sqrt(2) = 9.07 against 1 + 0.99 x 2 = 2.98.
    assert last_of(peer("max-predictors", step_s=HOUR_S), [1.0, 3.0]) == pytest.approx(9.0711, 1e-5)
    # Of three hourly 5 and two 1: n-sigma sees only the last two, 1 + 5 x 0; the others are 5.
    assert last_of(peer("max-predictors", step_s=HOUR_S), [5.0] * 3 + [1.0] * 2) == 5.0


def test_buckets_grow_by_their_ratio() -> None:
    # Widths 1, 2, 4 start at 0, 1, 3, 7; up to 5 it takes those up to 7.
    buckets = Buckets.up_to(5.0, first=1.0, ratio=2.0)
    np.testing.assert_allclose(buckets.start, [0.0, 1.0, 3.0, 7.0])
    np.testing.assert_array_equal(buckets.of(np.array([0.0, 0.9, 1.0, 6.9, 50.0])), [0, 0, 1, 2, 3])
    np.testing.assert_allclose(buckets.end(np.array([0, 2, 3])), [1.0, 7.0, 7.0])


def test_a_count_of_buckets_reaches_the_largest_value() -> None:
    # Widths 1, 2, 4 of 7 in all.
    np.testing.assert_allclose(Buckets.split(7.0, count=4, ratio=2.0).start, [0.0, 1.0, 3.0, 7.0])


def test_a_value_weighs_half_after_its_half_life_however_long_time_goes_on() -> None:
    histogram = DecayingHistogram(1, Buckets.up_to(5.0, first=1.0, ratio=2.0), half_life=1.0)
    yes, one = np.ones(1, dtype=np.bool_), np.ones(1)
    for _ in range(200):
        histogram.add(np.array([4.0]), yes, one)
        histogram.age()
    histogram.add(np.array([0.0]), yes, one)
    # The newest weighs 1, those before 1/2 + 1/4 + ... = 1: half of the weight is at 0, in [0, 1).
    assert histogram.quantile(0.49)[0] == 1.0
    assert histogram.quantile(0.51)[0] == 7.0


def test_vpa_recommends_the_end_of_the_nine_tenths_bucket_plus_margin() -> None:
    # At 5 min all age alike.  The first weighs 8 (the ceiling), each next 1.15 x the end of the
    # bucket of 1 core, 1.05 at most: 1.2.  8 + 3 x 1.2 = 11.6, and 1.2 of 2 cores are 9.4 %.
    expected = 1.15 * bucket_end(1.0, first=0.01)
    assert last_of(peer("vpa"), [1.0] * 4 + [2.0]) == pytest.approx(expected)
    # 8 + 1.2 and 1.2 of 2 cores: 11.5 %.
    assert last_of(peer("vpa"), [1.0] * 2 + [2.0]) == pytest.approx(1.15 * bucket_end(2.0, 0.01))


def test_vpa_forgets_by_half_a_day() -> None:
    # Steps of a day, each value weighing the target before it: 4 cores 8, then at a target of
    # 4.7 the 1 core four times 4.7.  8/16 against 4.7 x 15/8 is 5 %; 8/4 against 4.7 x 3/2 is 22 %.
    expected = 1.15 * bucket_end(1.0, first=0.01)
    assert last_of(peer("vpa", step_s=DAY_S), [4.0, 1.0, 1.0, 1.0, 1.0]) == pytest.approx(expected)
    expected = 1.15 * bucket_end(4.0, first=0.01)
    assert last_of(peer("vpa", step_s=DAY_S), [4.0, 1.0, 1.0]) == pytest.approx(expected)


def test_vpa_weighs_cpu_by_the_request_so_that_a_rise_counts() -> None:
    # From a ceiling of 0.1: ten of 0.05 weigh 0.1 each, 1.0 in all; once 2 cores came, which
    # weigh 0.1 (9 %), the next at its target of 0.058 weigh 0.1 again: 2 x 0.1 of 1.2 is 17 %.
    past = [0.05] * 10
    assert last_of(peer("vpa", ceiling=0.1), [*past, 2.0]) < 0.1
    assert last_of(peer("vpa", ceiling=0.1), [*past, 2.0, 2.0]) > 2.0
    # Then each 2 weighs 2.3 or more, and 20 of 0.05 at 2.3 weigh 46 against 0.2: forgotten.
    assert last_of(peer("vpa", ceiling=0.1), [*past, 2.0, 2.0] + [0.05] * 20) < 0.1


def test_vpa_never_recommends_less_than_its_minimum() -> None:
    assert last_of(peer("vpa"), [0.0]) == 0.025
    memory = peer("vpa", ceiling=GIB, resource=Resource.MEMORY)
    assert last_of(memory, [1e6]) == 250 * 2**20


def test_vpa_counts_only_the_peak_of_a_day_for_memory() -> None:
    # Two half days a day: peaks 1 GiB and 4 GiB; on each later day 1 GiB, until 4 GiB's weight
    # is below a tenth: 1/2 : 1, 1/4 : 3/2, 1/8 : 7/4 (6.7 %).
    def after(days: int) -> float:
        memory = peer("vpa", ceiling=8 * GIB, step_s=DAY_S / 2, resource=Resource.MEMORY)
        return last_of(memory, [GIB, 4 * GIB] + [GIB, 0.5 * GIB] * days)

    high, low = (1.15 * bucket_end(peak, first=1e7) for peak in (4 * GIB, GIB))
    assert [after(days) for days in range(4)] == pytest.approx([high, high, high, low])


def test_vpa_takes_the_lower_peaks_of_a_day_out_again() -> None:
    # Hourly 1 to 20 GiB are one peak of 20 GiB; as 20 values, 90 % would be 18 GiB.
    memory = peer("vpa", ceiling=32 * GIB, step_s=HOUR_S, resource=Resource.MEMORY)
    expected = 1.15 * bucket_end(20 * GIB, first=1e7)
    assert last_of(memory, [hour * GIB for hour in range(1, 21)]) == pytest.approx(expected)


def test_koordlet_leaves_a_tenant_its_ceiling_for_the_first_day() -> None:
    assert last_of(peer("koordinator", step_s=HOUR_S), [1.0] * 24) == 8.0
    expected = 1.1 * bucket_end(1.0, first=0.025)
    assert last_of(peer("koordinator", step_s=HOUR_S), [1.0] * 25) == pytest.approx(expected)


def test_koordlet_takes_the_95th_percentile_for_cpu_with_half_a_days_half_life() -> None:
    # Steps of 12 h: 4, then n times 1: weight of 4 is 2^-n of 2 - 2^-n in all; n = 4: 3.2 %,
    # n = 3: 6.7 %.
    def after(n: int) -> float:
        return last_of(peer("koordinator", step_s=DAY_S / 2), [4.0] + [1.0] * n)

    low, high = (1.1 * bucket_end(value, first=0.025) for value in (1.0, 4.0))
    assert [after(3), after(4)] == pytest.approx([high, low])


def test_koordlet_takes_the_98th_percentile_for_memory_with_a_days_half_life() -> None:
    # Steps of a day: weight of 4 GiB is 2^-n of 2 - 2^-n; n = 5: 1.6 %, n = 4: 3.2 %.
    def after(n: int) -> float:
        one = peer("koordinator", ceiling=8 * GIB, step_s=DAY_S, resource=Resource.MEMORY)
        return last_of(one, [4 * GIB] + [GIB] * n)

    low, high = (1.1 * bucket_end(value, first=5 * 2.0**20) for value in (GIB, 4 * GIB))
    assert [after(4), after(5)] == pytest.approx([high, low])


def test_autopilot_adds_a_margin_that_shrinks_towards_the_ceiling() -> None:
    # Buckets are 2 % wide where it matters: 1 of 8 cores is 1/8, margin 0.15 - 0.05/8 = 0.144;
    # at the ceiling it is 0.10.
    assert last_of(peer("autopilot"), [1.0]) == pytest.approx(1.0 * 1.14375, rel=0.025)
    assert last_of(peer("autopilot"), [8.0]) == pytest.approx(8.0 * 1.10, rel=0.025)


def test_autopilot_weighs_values_by_how_high_they_are() -> None:
    # 99 values of 0.1 and one of 4, half-life 12 h at 1 s steps (all weigh alike): load 9.9
    # against 4, so 4 has 29 % of the load though 1 % of the time.
    demand = [0.1] * 99 + [4.0]
    assert last_of(peer("autopilot", step_s=1.0), demand) > 4.0


def test_autopilot_keeps_the_last_hours_maximum() -> None:
    # Steps of 12 h, so the last hour is one step: 4 then 1: load 4/2 against 1, then 4/64
    # against 1 + 1/2 + ... + 1/32 = 1.97, which is 3.1 %.
    falling = peer("autopilot", step_s=DAY_S / 2)
    assert last_of(falling, [4.0] + [1.0] * 5) > 4.0
    assert last_of(falling, [1.0]) == pytest.approx(1.14375, rel=0.025)
    # At steps of 10 min it stands for an hour where a jump of the half-life would let go at once.
    held = peer("autopilot", step_s=600.0)
    assert last_of(held, [4.0] + [0.001] * 5) > 4.0


def test_a_tenant_without_any_ceiling_gets_nothing_from_autopilot() -> None:
    assert last_of(peer("autopilot", ceiling=0.0), [0.0, 0.0]) == 0.0
