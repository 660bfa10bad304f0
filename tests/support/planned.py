"""A tick's changes of one control, planned by the agent's own rules and written: for benchmarks."""

from collections.abc import Callable

import numpy as np

from agent.plan import Pace, Standing, changes_of, headroom, raises, reductions, stepped
from enforce.columns import AnyControl, Bools, Changes, Floats, Outcomes, Result

Write = Callable[[Changes], Outcomes]


def turned(
    control: AnyControl, write: Write, in_force: Floats, wanted: Floats, capacity: float
) -> Floats:
    """Go from what is in force to what is wanted, of every tenant; return what is then.

    Reductions are written first, and then raises into what they have freed.
    """
    count, nothing = len(wanted), np.zeros(len(wanted))
    standing = Standing(
        in_force=in_force,
        guaranteed=wanted,
        ceiling=np.full(count, capacity),
        in_use=in_force,
        is_hit=np.zeros(count, dtype=np.bool_),
        least=nothing,
        own=in_force,
    )
    free = capacity - float(in_force.sum())
    target = stepped(wanted, standing, free=free, elapsed_s=1.0, pace=Pace())
    lowered = reductions(control, target, in_force, np.ones(count, dtype=np.bool_))
    now = _after(write, lowered, in_force)
    target[lowered.tenant] = now[lowered.tenant]
    room = headroom(target, in_force, now, guaranteed=wanted, least=nothing, allowed=capacity)
    raised = raises(control, target, now, guaranteed=wanted, least=nothing, headroom=room)
    if len(lowered) + len(raised) != count:
        raise SystemExit(f"{control}: {len(lowered)} + {len(raised)} changes, not {count}")
    return _after(write, raised, now)


def turned_sideways(control: AnyControl, write: Write, in_force: Floats, wanted: Floats) -> Floats:
    """Go to what is wanted of a weight or of memory.low, which take from nobody; return it."""
    is_moved: Bools = wanted != in_force
    return _after(write, changes_of(control, wanted, in_force, is_moved), in_force)


def _after(write: Write, changes: Changes, before: Floats) -> Floats:
    done, after = write(changes), before.copy()
    if (done.result != Result.APPLIED).any():
        raise SystemExit(f"{changes.control}: {done.why or 'not written'}")
    after[done.tenant] = done.kept
    return after
