"""What a tick writes, and in which order: reductions, what stands beside limits, raises.

Owns what has been written so far, as a count, and what is left out where tenants are only observed.
Which values are wanted is agent.cycle's, how they are written is the kernel's applier's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.controls import control_of
from agent.cycle import Decision, Observation, Policy, ResourceDecision
from agent.plan import changes_of, enforceable, headroom, is_outside, raises, reductions
from agent.ports import Kernel
from agent.promised import beside_changes, sideways
from agent.record import Totals
from agent.shares import kernel_weights
from agent.tenant import Bools, Floats, Ints, Resource, Roster
from agent.unwritten import Unwritten
from enforce.columns import AnyControl, Changes, ClassControl, Outcomes, Result

_NO_LIMIT_FRACTION = 1 - 1e-9  # of what the machine has


@dataclass(frozen=True, slots=True)
class Enforced:
    """What one tick wrote, and what it left out where it only observes."""

    weight: Floats  # cpu.weight as decided
    changes: tuple[Changes, ...]
    outcomes: tuple[Outcomes, ...]
    unwritten: tuple[Changes, ...]


class Enforcer:
    """Writes what was decided of one roster; `take_on` before the first time."""

    def __init__(self, tenants: int) -> None:
        self.totals, self._unwritten = Totals(), Unwritten.none(tenants)
        self.root_problem: str | None = None  # why what is promised has no effect

    def take_on(
        self, roster: Roster, policy: Policy, kernel: Kernel, *, is_observing: bool
    ) -> None:
        """Go on with these tenants, in the order that is known, under this policy."""
        self._roster, self._policy, self._applier = roster, policy, kernel.applier
        self._is_observing = is_observing
        found = {resource: control_of(resource) for resource in policy.resources}
        self._controls = {r: control for r, control in found.items() if control is not None}
        self._most = {
            control: policy.machine[r] * _NO_LIMIT_FRACTION for r, control in self._controls.items()
        }

    def rearrange(self, positions: Ints) -> None:
        """Go on with the tenants in a new order; position -1 is a newcomer."""
        self._unwritten = self._unwritten.rearranged(positions)

    def enforce(self, decision: Decision, seen: Observation) -> Enforced:
        """Write reductions, then what takes from nobody, then raises into what was freed.

        All of uplinks comes last: the kernel hands out one lock for that, which anybody can hold up
        who makes network namespaces, and no raise of memory is to wait for it.
        """
        may_write = seen.usage.is_present & ~self._roster.is_observed_only
        cpu = decision.resources[Resource.CPU]
        promised, capacity = cpu.allocation.promised, self._policy.capacity
        weight = kernel_weights(cpu.allocation.share, promised, capacity[Resource.CPU])
        beside = self._sideways(decision, seen, may_write, weight)
        self._protect_root(seen.sample.in_force.memory_low_bytes, beside[1], may_write)
        rates = beside_changes(decision, seen, may_write, self._roster, capacity=capacity)
        every = (*beside, *rates)
        written: list[tuple[Changes, Outcomes]] = []
        for is_uplink in (False, True):
            mine = [
                r for r, c in self._controls.items() if isinstance(c, ClassControl) is is_uplink
            ]
            parts = {resource: decision.resources[resource] for resource in mine}
            same = [one for one in every if isinstance(one.control, ClassControl) is is_uplink]
            written += self._moved(parts, same)
        unwritten = self._left_out(decision, seen, weight)
        changes, outcomes = zip(*written, strict=True)
        return Enforced(weight, changes, outcomes, unwritten)

    def _moved(
        self, parts: Mapping[Resource, ResourceDecision], beside: Sequence[Changes]
    ) -> list[tuple[Changes, Outcomes]]:
        """Write what lowers limits of some resources, `beside`, and what raises them."""
        controls = self._controls
        lowered = [
            reductions(controls[resource], part.target, part.in_force, part.is_movable)
            for resource, part in parts.items()
        ]
        outcomes = [self._write(changes) for changes in (*lowered, *beside)]
        raised = [
            self._raises(controls[resource], resource, part, (outcome.tenant, outcome.kept))
            for (resource, part), outcome in zip(
                parts.items(), outcomes[: len(lowered)], strict=True
            )
        ]
        outcomes += [self._write(changes) for changes in raised]
        return list(zip((*lowered, *beside, *raised), outcomes, strict=True))

    def _sideways(
        self, decision: Decision, seen: Observation, may_write: Bools, weight: Floats
    ) -> tuple[Changes, Changes]:
        """Return changes of cpu.weight and of memory.low."""
        capacity, elsewhere = self._policy.capacity[Resource.CPU], self._roster.is_elsewhere
        return sideways(decision, seen, may_write, weight, capacity, is_elsewhere=elsewhere)

    def _protect_root(self, low_bytes: Floats, lows: Changes, may_write: Bools) -> None:
        """Give the root what its children's memory.low will add up to, before they get it.

        With less than they hold, the kernel would cut them all (dead-band and observed tenants
        leave some as they are, whatever was decided for them).
        """
        if not self._is_observing:
            after = np.nan_to_num(low_bytes, nan=0.0, posinf=self._policy.machine[Resource.MEMORY])
            after[lows.tenant] = lows.after
            after[self._roster.is_elsewhere] = 0.0  # not its children
            promised, is_enforcing = float(after.sum()), bool(may_write.any())
            self.root_problem = self._applier.protect_root(promised, is_enforcing=is_enforcing)

    def _raises(
        self,
        control: AnyControl,
        resource: Resource,
        part: ResourceDecision,
        left: tuple[Ints, Floats],
    ) -> Changes:
        """Plan raises into the headroom that confirmed reductions have left (law 2).

        `left` names the tenants whose limit was to be lowered, and what is in force then.
        """
        machine, movable = self._policy.machine[resource], part.is_movable
        now = part.in_force.copy()
        tenant, kept = left
        is_read = np.isfinite(kept)
        now[tenant[is_read]] = np.minimum(kept[is_read], machine)
        target = np.where(movable, part.target, now)
        target[tenant] = now[tenant]  # what the kernel rounded down would be written once more
        is_raised = target > now
        if not is_raised.any():
            return changes_of(control, target, now, is_raised)
        guaranteed = part.allocation.guarantee.amount
        room = headroom(
            part.target[movable],
            part.in_force[movable],
            now[movable],
            guaranteed=guaranteed[movable],
            least=part.least[movable],
            allowed=part.allowed,
        )
        return raises(control, target, now, guaranteed=guaranteed, least=part.least, headroom=room)

    def _write(self, changes: Changes) -> Outcomes:
        """Write changes: there are none of tenants that are only observed."""
        if not len(changes):
            none = changes.after
            return Outcomes(changes.control, changes.tenant, none, none, none.astype(np.uint8))
        changes = replace(changes, after=self._unbounded(changes.control, changes.after))
        outcomes = self._applier.apply(changes)
        went = np.bincount(outcomes.result, minlength=len(Result)).tolist()
        self._count(
            written=went[Result.APPLIED],
            held_back=went[Result.HELD_BACK],
            refused=went[Result.REFUSED],
        )
        return outcomes

    def _count(self, **more: int) -> None:
        totals = self.totals
        self.totals = replace(totals, **{k: getattr(totals, k) + n for k, n in more.items()})

    def _unbounded(self, control: AnyControl, after: Floats) -> Floats:
        """Return what to write: all that the machine has is no limit."""
        most = self._most.get(control)
        return after if most is None else np.where(after >= most, np.inf, after)

    def _left_out(
        self, decision: Decision, seen: Observation, weight: Floats
    ) -> tuple[Changes, ...]:
        """Return, and count, the decisions that would be written for who is only observed."""
        is_observed = seen.usage.is_present & self._roster.is_observed_only
        if not is_observed.any():
            return ()
        unwritten = []
        for resource, control in self._controls.items():
            part, found = decision.resources[resource], seen.sample.limit(control)
            wanted = enforceable(control, part.allocation.limit)
            is_off = is_observed & is_outside(wanted, part.in_force, self._policy.pace)
            wanted = self._unbounded(control, wanted)
            unwritten.append(changes_of(control, wanted, found, is_off & ~np.isnan(found)))
        capacity = self._policy.capacity
        unwritten += self._sideways(decision, seen, is_observed, weight)
        unwritten += beside_changes(decision, seen, is_observed, self._roster, capacity=capacity)
        for one in unwritten:
            self._unwritten, new = self._unwritten.counted(one.control, one.tenant, one.after)
            self._count(would_have=new)
        return tuple(unwritten)
