"""Why one tenant has the limits that it has: the chain from measurement to kernel, in words.  Pure.

Every sentence carries the numbers of the record; nothing here decides.
"""

import math
from collections.abc import Mapping

import numpy as np

from agent.amounts import token_of, tokens_text
from agent.answers import Chain, ControlValue, Explanation, Sentence, TenantStatus
from agent.controls import control_of, limit_and_promise, weight_control_of
from agent.enforced import WRITTEN, control_value, left
from agent.event_words import raise_sentence
from agent.explain_case import NOTICEABLE, Case
from agent.indicated import indicator_text, indicators_of
from agent.pin_words import pin_sentences, pinned_limits
from agent.record import TickRecord
from agent.shares import SHARE_DEAD_BAND
from agent.status import tenant_rows
from agent.tenant import Resource
from enforce.columns import AnyControl, Control, DiskWeight
from forecast.profile import Source

_SOURCE_WORDS = {
    Source.LIVE: "the fitted model",
    Source.LEARNING: "the rule for tenants with little history",
    Source.FALLBACK: "the fallback rule",
}
_STATE_WORDS = {
    "debt": "it has overspent its tokens",
    "throttled": "the kernel throttles it now",
    "squeezed": "its memory is held at the limit",
    "emergency": "it holds an emergency grant",
    "learning": "there is little history of it yet",
    "fallback": "a simple rule stands in for the forecaster",
    "poor": "its forecast has been poor",
    "empty": "there is no process in its cgroup",
    "unenforced": "part of this cannot be enforced here",
}
_UNKNOWN_SINCE = {
    "cpu": "there are no two samples of this cgroup yet that can be compared",
    "memory": "the kernel does not count it here (is the memory controller on?)",
    "disk": "the kernel does not count it here (is the io controller on, and the disk there?)",
    "network": "nothing counts it (`tidegate doctor` says why)",
}
_HEADLINED = (Control.CPU_MAX, Control.MEMORY_HIGH)  # what the first sentence tells the limit of
_FAR_FRACTION = 0.05
_ABOVE_PIN = ": what it cannot give back, and a margin, are left to it"  # memory's alone
_UNCOUNTED = "nothing counts it yet"
_UNWRITTEN = "configured but not enforceable: this limit is decided, and nothing writes it."


def explain(record: TickRecord, name: str, *, now_s: float) -> Explanation | None:
    """Return the chain behind each limit of the tenant `name`, or None if there is no such tenant.

    `now_s` is CLOCK_MONOTONIC.
    """
    if name not in record.roster.names:
        return None
    position = record.roster.names.index(name)
    tenant = tenant_rows(record, [position])[0]
    cases = {resource: Case.of(record, resource, position) for resource in record.resources}
    return Explanation(
        tick=record.number,
        age_s=round(max(now_s - record.taken_at_s, 0.0), 3),
        tenant=tenant,
        summary=_summary(tenant, cases, pinned_limits(record, _HEADLINED, position)),
        chains=tuple(_chain(record, case, position) for case in cases.values()),
    )


def _chain(record: TickRecord, case: Case, position: int) -> Chain:
    names = _controls_of(record, case.resource, position)
    controls = tuple(control_value(record, control, position) for control in names)
    indicators = indicators_of(record.indicators, case.resource, position)
    if not case.is_present:
        return Chain(str(case.resource), (Sentence("measured", _absent(case)),), controls)
    raised = raise_sentence(record.agenda, case.resource, position)
    steps = [
        Sentence("measured", _measured(case)),
        Sentence("demand", _demand(case)),
        Sentence("forecast", _forecast(case)),
        *([Sentence("accuracy", case.accuracy)] if case.accuracy else []),
        *(Sentence("metric", indicator_text(one, case.resource)) for one in indicators),
        *([] if raised is None else [raised]),
        *([Sentence("risk", _risk(case))] if _has_risk(case) else []),
        Sentence("guaranteed", _guaranteed(case)),
        Sentence("opportunistic", _opportunistic(case)),
        Sentence("emergency", _emergency(case)),
        Sentence("limit", _limit(case)),
    ]
    if case.resource.is_spent:
        steps.append(Sentence("balance", _balance(case)))
    steps += pin_sentences(record, names, position)
    steps += [
        Sentence("kernel", _kernel(case, control, value, left(record, control, position)))
        for control, value in zip(names, controls, strict=True)
    ]
    if not names:
        steps.append(Sentence("kernel", _UNWRITTEN))
    return Chain(str(case.resource), tuple(steps), controls, indicators)


def _controls_of(record: TickRecord, resource: Resource, position: int) -> tuple[AnyControl, ...]:
    """Return what limits a resource, what keeps its promise beside that, and its disk's weight.

    Of memory also where the kernel kills, if that is configured.
    """
    if resource == Resource.MEMORY and np.isfinite(record.roster.memory_max_bytes[position]):
        return (*limit_and_promise(resource), Control.MEMORY_MAX)
    weight = weight_control_of(resource)
    is_weighed = weight is not None and not np.isnan(record.sample.limit(weight)).all()
    found = limit_and_promise(resource)
    return (*found, weight) if weight is not None and is_weighed else found


def _summary(tenant: TenantStatus, cases: Mapping[Resource, Case], pinned: str) -> str:
    """Say what a tenant may use, and first where that is pinned."""
    cpu, memory = cases[Resource.CPU], cases[Resource.MEMORY]
    start = f"{tenant.name} ({tenant.qos})"
    if not cpu.is_present:
        return f"{start} has no cgroup now{_without_cgroup(cpu)}"
    start = f"{start} is pinned: {pinned}. It" if pinned else start
    verb = (
        "is only observed, nothing is written: it would be allowed"
        if cpu.is_observed
        else "may use"
    )
    may = f"{start} {verb} {cpu.text(cpu.limit)} and {memory.text(memory.limit)} of memory"
    reasons = [words for state, words in _STATE_WORDS.items() if state in tenant.states]
    return may + (": " + "; ".join(reasons) if reasons else "") + "."


def _without_cgroup(case: Case) -> str:
    """Say what follows from there being none: of who is only observed nothing was promised."""
    where = " (`tidegate doctor` says where it was looked for)" * case.is_elsewhere
    if not case.is_observed:
        return f"{where}: what it was promised is lent, and is returned first."
    is_host = ", and none is made while [host] says `observe = true`" * case.is_host_observed
    return f"{where}{is_host}. It is only observed: nothing would be written."


def _absent(case: Case) -> str:
    lent = f"; its floor of {case.text(case.floor)} is lent meanwhile"
    return f"nothing: there is no cgroup{'' if case.is_observed else lent}."


def _measured(case: Case) -> str:
    used = f"{'used' if case.resource.is_spent else 'holds'} {case.text(case.usage)}"
    if not math.isfinite(case.usage):
        return f"usage is unknown: {_UNKNOWN_SINCE.get(case.resource.kind.group, _UNCOUNTED)}."
    if not case.resource.is_spent:
        return used + (", and hit its limit in the last tick." if case.is_held_back else ".")
    if not (case.is_cpu and math.isfinite(case.throttled_fraction)):
        return f"{used} in the last tick."
    throttled_pct = 100 * case.throttled_fraction
    return f"{used} in the last tick, throttled in {throttled_pct:.0f} % of its periods."


def _demand(case: Case) -> str:
    if not math.isfinite(case.demand):
        return "unknown, and so not counted as zero."
    if not case.is_held_back:
        return f"{case.text(case.demand)}, as measured: nothing held it back."
    about = f"about {case.text(case.demand)}"
    return f"{about}: it was held back, so what it used is only a lower bound."


def _forecast(case: Case) -> str:
    if not math.isfinite(case.expected):
        return "none yet: nothing is known of it but its ceiling."
    who = _SOURCE_WORDS[case.source]
    if case.source is Source.FALLBACK and case.forecaster != "live":
        who += f" (the forecaster is {case.forecaster})"
    expects = (
        f"expects {case.text(case.expected)} in the next step, "
        f"and at most {case.text(case.upper)} within the horizon"
    )
    return f"{who} {expects}."


def _has_risk(case: Case) -> bool:
    """Say whether anything is expected above the floor, of which a part could be at risk."""
    return case.is_more(case.expected - case.floor, 0.0)


def _risk(case: Case) -> str:
    if not math.isfinite(case.risk) or round(100 * case.risk) <= 0:
        return "none: all of the expected demand is pre-allocated."
    return (
        f"{100 * case.risk:.0f} % of the expected demand above the floor is too uncertain to be "
        f"pre-allocated to a {case.qos} tenant."
    )


def _guaranteed(case: Case) -> str:
    """Show floor + (expected - floor)+ x (1 - risk), and why the result is not just that."""
    amount = f"{_would_be(case)}{case.text(case.guaranteed)}"
    if case.is_more(case.floor, case.guaranteed):
        return f"{amount}: less than its floor of {case.text(case.floor)}, which does not fit now."
    expected = case.expected if math.isfinite(case.expected) else case.floor
    above = max(expected - case.floor, 0.0) * (1.0 - case.risk)
    if not case.is_more(above, 0.0):
        return f"{amount}: its floor{_more(case, case.floor)}."
    terms = (
        f"floor {case.text(case.floor)} + ({case.text(expected)} - {case.text(case.floor)}) "
        f"x {1.0 - case.risk:.2f}"
    )
    return f"{amount}: {terms} = {case.text(case.floor + above)}{_more(case, case.floor + above)}."


def _would_be(case: Case) -> str:
    return "would be " if case.is_observed else ""


def _more(case: Case, formula: float) -> str:
    """Say why the guaranteed amount is not what the formula gives."""
    if case.is_more(formula, case.guaranteed):
        return f", cut{_cut(case)}"
    if case.is_more(case.guaranteed, formula):
        return ", raised since its demand is above the forecast now"
    return ""


def _cut(case: Case) -> str:
    """Name what keeps the guaranteed amount below what the formula gives."""
    if round(100 * case.forfeited) > 0:
        return f": its debt takes back {100 * case.forfeited:.0f} % of what is beyond its floor"
    if not case.is_more(case.ceiling, case.guaranteed):
        return " to its ceiling"
    if case.is_pinned and not case.is_more(case.pin, case.guaranteed):
        return " to what it is pinned to"
    if not case.is_more(case.fair, case.guaranteed):
        share = f"its fair share by weight, {case.text(case.fair)}"
        is_above = case.is_more(case.guaranteed, case.floor)
        return f" to {share}" if is_above else f" to its floor, above {share}"
    return " to what is left beside the others' guarantees"


def _opportunistic(case: Case) -> str:
    if not case.is_more(case.opportunistic, 0.0):
        bound = "what it is pinned to" if case.is_pinned else "its ceiling"
        return f"nothing: others need the rest more, or {bound} is reached."
    lent = "would be lent" if case.is_observed else "lent"
    return (
        f"{case.text(case.opportunistic)} {lent} on top, until others need it "
        f"(chance of a shortage: {100 * case.pressure:.1f} %)."
    )


def _emergency(case: Case) -> str:
    if case.is_observed:
        return "no grant: it has no limit of tidegate's to be raised while it is only observed."
    if not case.is_more(case.emergency, 0.0):
        return _nothing_granted(case)
    if case.cooldown_left_s > 0:
        return (
            f"{case.text(case.emergency)} of a grant that has ended; it is taken back over another "
            f"{case.cooldown_left_s:.0f} s, and until then there is no other."
        )
    return (
        f"{case.text(case.emergency)} granted for another {case.grant_left_s:.0f} s, "
        "since it was held back while short of what it demands."
    )


def _nothing_granted(case: Case) -> str:
    if case.cooldown_left_s > 0:
        return f"no grant, and none for another {case.cooldown_left_s:.0f} s: one has ended."
    if case.grant_left_s > 0:
        return f"a grant for another {case.grant_left_s:.0f} s, of which it has nothing now."
    if case.host_need:
        return f"no grant: the pool is kept for the host itself ({case.host_need})."
    return "no grant."


def _limit(case: Case) -> str:
    """Add the three pools up, and name the bound that the sum met."""
    parts = (case.guaranteed, case.opportunistic, case.emergency)
    summed = " + ".join(case.text(part) for part in parts)
    limit = f"{_would_be(case)}{case.text(case.limit)} = {summed}"
    if case.is_pinned:
        pin = f"the {case.text(case.pin)} that it is pinned to"
        is_above = case.is_more(case.limit, case.pin)
        return f"{limit}, above {pin}{_ABOVE_PIN}." if is_above else f"{limit}, as it is pinned."
    if not math.isfinite(case.ceiling):
        return f"{limit}; no ceiling of its own but the host."
    ceiling = f"its ceiling of {case.text(case.ceiling)}"
    if not case.is_more(case.ceiling, case.limit):
        return f"{limit}, which is {ceiling}."
    if not case.is_more(case.most, case.limit):
        return f"{limit}: all that there is, below {ceiling}."
    return f"{limit}, below {ceiling}."


def _balance(case: Case) -> str:
    if not math.isfinite(case.balance):
        return "unknown."
    kind = case.resource.kind
    amount, token = tokens_text(kind, abs(case.balance)), token_of(kind)
    if case.balance < 0:
        most = tokens_text(kind, case.burst / case.allowance)
        return f"{amount} {token} in debt, of at most {most}: {_brought_down(case)}."
    most = tokens_text(kind, case.burst)
    said = f"{amount} of {most} {token} banked{_worth(case)}"
    if case.allowance <= 1.0 + NOTICEABLE:
        return f"{said}."
    return (
        f"{said}. It may bank {case.allowance:.2f} times what its class may, "
        "for what it has left of its tokens in the last hour."
    )


def _worth(case: Case) -> str:
    """Say what a bank buys: how long it pays for what is expected, and what that makes of weight.

    2^(credit * pressure), with a credit of 1 for what pays for a minute or more.
    """
    if round(case.credit, 2) <= 0:
        return ", which buys no priority"
    minutes = "a minute" if case.credit >= 1 else f"{case.credit:.2f} of a minute"
    at_least = " or more" if case.credit >= 1 else ""
    return (
        f", worth {minutes}'s expected demand{at_least}: "
        f"weight x {case.priority:.2f} at this pressure"
    )


def _brought_down(case: Case) -> str:
    """Say whether a tenant in debt is losing what it was lent, before the host is full."""
    it_is = "it would be" if case.is_observed else "it is"
    if case.is_pinned:
        return "its limit stays as it is pinned, and its weight falls as a shortage becomes likely"
    if case.pressure < NOTICEABLE or not case.is_more(case.most, case.limit):
        return f"{it_is} brought down first when the host fills up"
    return (
        f"{it_is} brought down towards its guaranteed part as a shortage becomes likely "
        f"({100 * case.pressure:.1f} % now)"
    )


def _kernel(case: Case, control: AnyControl, value: ControlValue, kept: float) -> str:
    """Say what the kernel holds now, and why that is not what was decided where it is not."""
    if value.before is None and value.wanted is None:
        return f"{value.control} cannot be read: configured but not enforced."
    now = f"{value.control} is {value.kept or 'unknown'}"
    if case.is_observed:
        would = "stay so" if value.wanted is None else f"become {value.wanted}"
        return f"{now}, and would {would}{_waiting(case, control, value, kept)}."
    if value.wanted is None:
        return f"{now}, unchanged in this tick{_waiting(case, control, value, kept)}."
    was = f"was {value.before or 'unknown'}"
    if value.result == WRITTEN:
        return f"{now} now, {was}{_on_the_way(case, control, kept)}."
    return f"{now}, {was}, wanted {value.wanted}: {value.result}."


def _on_the_way(case: Case, control: AnyControl, kept: float) -> str:
    """Say where a limit is going that is not there yet."""
    if control != control_of(case.resource) or not _is_far(case.limit, kept):
        return ""
    amount = case.text(case.limit)
    if case.limit < kept:
        return f", on its way down to {amount} in steps"
    return f", and the rest of the raise to {amount} waits for room"


def _is_far(decided: float, kept: float) -> bool:
    """Say whether a limit is further from what was decided than any dead-band."""
    return abs(decided - kept) > _FAR_FRACTION * max(decided, kept)


def _waiting(case: Case, control: AnyControl, value: ControlValue, kept: float) -> str:
    """Say why a value that was decided is not written, if it differs from what is in force."""
    if isinstance(control, DiskWeight) or control is Control.MEMORY_MAX:
        return ""  # one stands for all that is divided of its disk, one is no decision
    is_limit = control == control_of(case.resource)
    share = case.weight if control is Control.CPU_WEIGHT else case.guaranteed
    decided, kept = case.limit if is_limit else share, min(kept, case.total) if is_limit else kept
    is_same = not (case.is_more(decided, kept) or case.is_more(kept, decided))
    if value.wanted is not None or is_same or not math.isfinite(kept):
        return ""
    if control is Control.CPU_WEIGHT and case.is_elsewhere:
        return ": it compares siblings that are none of tidegate's, and is left alone"
    if control is Control.CPU_WEIGHT:
        is_far = abs(decided - kept) > max(SHARE_DEAD_BAND * kept, 1.0)
        why = "waits until there is history" if is_far else "is not far from it"
        return f": {decided:.0f} {why}"
    return f": {_short_of(case, decided, kept, is_moved=is_limit and not case.is_observed)}"


def _short_of(case: Case, decided: float, kept: float, *, is_moved: bool) -> str:
    """Say why what is in force is not what was decided."""
    amount = case.text(decided)
    if not is_moved:
        return f"{amount} is not far from it"
    if decided > kept:
        return f"the raise to {amount} is small, or waits for room"
    if _is_far(decided, kept):
        return f"it comes down to {amount} with the next ticks"
    return f"{amount} is not far below"
