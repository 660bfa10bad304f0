"""What is answered can be encoded, whatever is recorded."""

import msgspec
import numpy as np
from hypothesis import given

from agent.answers import Status
from agent.record import TickRecord
from agent.recorded import resource_tick
from agent.status import AgentFacts, status
from agent.tenant import Floats

from hosts import Host, hosts
from scenes import Played, Scene, played, scenes


def recorded(scene: Scene, tick: Played, number: int) -> TickRecord:
    """Return the record of a tick in which nothing was written."""
    nothing: Floats = np.zeros(len(scene.pairs))
    parts = {
        resource: resource_tick(resource, tick.decision, tick.seen, scene.policy, weight=nothing)
        for resource in scene.policy.resources
    }
    return TickRecord(
        number=number,
        taken_at_s=tick.seen.sample.taken_at_s,
        late_ticks=0,
        is_observing=False,
        is_learning=tick.decision.is_learning.any().item(),
        roster=scene.roster,
        sample=tick.seen.sample,
        resources=parts,
        usage=tick.seen.usage,
        throttled_fraction=nothing,
        changes=(),
        outcomes=(),
        forecaster="live",
        problems=(),
    )


@given(scenes())
def test_the_status_of_any_record_is_what_the_command_line_decodes(scene: Scene) -> None:
    """Also where floors fill all that there is, or more."""
    for number, tick in enumerate(played(scene)):
        answer = status(
            recorded(scene, tick, number), AgentFacts(), now_s=tick.seen.sample.taken_at_s
        )
        assert msgspec.json.decode(msgspec.json.encode(answer), type=Status) == answer


@given(hosts())
def test_what_is_said_of_the_whole_host_is_plain_floats(host: Host) -> None:
    found = host.allocated()
    numbers = (found.guarantee.emergency_pool, found.pressure, found.elasticity)
    assert all(type(number) is float for number in (*numbers, found.marginal_need))
