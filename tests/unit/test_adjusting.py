"""What is known beside the series' own past: told of each step, asked at each tick."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from loops import Scenario, tenants

from agent.tenant import Floats, Ints, Resource, Roster
from forecast.profile import Profile


class Doubling:
    """Expects twice of what others expect, and remembers what it was told."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.learned: list[Floats] = []
        self.given: list[Profile] = []
        self.said: list[Profile] = []
        self.rearranged: list[Ints] = []

    def learn(self, step: int, values: Floats, now_s: float) -> None:
        self.steps.append(step)
        self.learned.append(values)

    def adjusted(self, profile: Profile, now_s: float) -> Profile:
        assert now_s > 0
        self.given.append(profile)
        self.said.append(
            replace(
                profile,
                grid=2 * profile.grid,
                expected=2 * profile.expected,
                maximum=2 * profile.maximum,
            )
        )
        return self.said[-1]

    def rearrange(self, roster: Roster, foreseen: Sequence[Resource], positions: Ints) -> None:
        assert len(positions) == len(roster) * len(foreseen)
        self.rearranged.append(positions)


def test_what_is_known_beside_the_past_changes_what_is_decided() -> None:
    decided, knowing = {}, Doubling()
    for knows in (False, True):
        scenario = Scenario(tenants("a", "b", floor=0.0), step_s=5.0)
        scenario.loop.adjusting = [knowing] if knows else []
        scenario.host.wants_cores = np.array([0.5, 0.25])
        decided[knows] = [scenario.loop.tick(float(t), late_ticks=0) for t in range(1, 13)][-1]
    for resource in (Resource.CPU, Resource.MEMORY):
        plain, doubled = (decided[knows].resources[resource] for knows in (False, True))
        np.testing.assert_allclose(doubled.expected, 2 * plain.expected)
        np.testing.assert_allclose(doubled.upper, 2 * plain.upper)
    assert len(knowing.learned) == 2
    assert knowing.steps == [1, 2]
    np.testing.assert_allclose(knowing.learned[-1][:2], [0.5, 0.25])


def test_what_is_known_follows_the_roster() -> None:
    scenario, knowing = Scenario(tenants("a", "b", floor=0.0)), Doubling()
    scenario.loop.adjusting = [knowing]
    scenario.loop.tick(1.0, late_ticks=0)
    before = scenario.loop.roster
    scenario.loop.reconfigure(
        before,
        scenario.policy,
        scenario.settings,
        kernel=scenario.loop._kernel,
    )
    series = len(before) * len(scenario.policy.foreseen)
    assert [found.tolist() for found in knowing.rearranged] == [list(range(series))]


def test_the_rule_that_stands_in_is_handed_over_as_the_same_until_a_step_closes() -> None:
    scenario, knowing = Scenario(tenants("a", "b", floor=0.0), step_s=5.0), Doubling()
    scenario.loop.adjusting = [knowing]
    steps = []
    for _ in range(23):
        scenario.tick()
        steps.append(scenario.loop.steps_closed)
    given = list(zip(steps, knowing.given, strict=True))
    for step in set(steps) - {0}:
        assert len({id(profile) for closed, profile in given if closed == step}) == 1
    assert len({id(profile) for closed, profile in given if closed > 0}) == max(steps) > 1


def test_a_step_that_closes_right_after_a_new_configuration_is_told_of_like_any_other() -> None:
    scenario, knowing = Scenario(tenants("a", "b", floor=0.0), step_s=1.0), Doubling()
    scenario.loop.adjusting = [knowing]
    for _ in range(4):
        scenario.tick(2)
        scenario.loop.reconfigure(
            scenario.loop.roster,
            scenario.policy,
            scenario.settings,
            kernel=scenario.loop._kernel,
        )
    scenario.tick()
    assert len(knowing.learned) == scenario.loop.steps_closed > 4
