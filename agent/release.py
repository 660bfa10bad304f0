"""Puts kernel state back to what it was before the agent's first start."""

from collections.abc import Collection
from contextlib import ExitStack, closing

import structlog

from agent.answers import ReleasedValue
from agent.paths import ORIGINALS_NAME
from agent.settings import HostSettings
from agent.sole import RootLock, sole_agent
from enforce.columns import Result
from enforce.originals import Originals, Released
from enforce.systemd import unprotect

log = structlog.get_logger()

_RESULT_WORDS = {
    Result.APPLIED: "restored",
    Result.HELD_BACK: "held back",
    Result.GONE: "gone",
    Result.REFUSED: "refused",
}


def release(host: HostSettings) -> tuple[list[ReleasedValue], str | None]:
    """Put every recorded value back; return how each went, and what is wrong with the record.

    Raises:
        AgentRunningError: An agent runs here or sets limits for these tenants, and would again.
        OSError: The record of the original values cannot be used.

    """
    with ExitStack() as held:
        held.enter_context(sole_agent(host.runtime_dir))
        if host.cgroup_root.exists():  # locking would make it
            held.enter_context(closing(RootLock(host.cgroup_root)))
        originals = Originals(host.state_dir / ORIGINALS_NAME)
        released = originals.release(
            host.cgroup_root, memory_margin_bytes=float(host.memory_margin_bytes)
        )
        units = unprotect(host.cgroup_root)
    values = [
        ReleasedValue(one.cgroup, one.file, one.text, _words(one), one.why) for one in released
    ]
    for path, why in units:
        result = Result.REFUSED if why else Result.APPLIED
        values.append(ReleasedValue(path.name, "memory.low", "0", _RESULT_WORDS[result], why or ""))
    return values, originals.problem


def release_removed(
    originals: Originals, host: HostSettings, tenants: Collection[str]
) -> str | None:
    """Put back what files of those who are no longer `tenants` held; return what could not be.

    What could not be is tried again with the next call.  Empty cgroups that tidegate made go too.
    """
    margin_bytes = float(host.memory_margin_bytes)
    try:
        released = originals.release_others(
            host.cgroup_root, frozenset(tenants), memory_margin_bytes=margin_bytes
        )
    except OSError as error:
        return f"cannot be recorded as put back ({error})"
    for one in released:
        log.info(
            "no longer a tenant",
            cgroup=one.cgroup,
            file=one.file,
            value=one.text,
            result=_words(one),
            why=one.why,
        )
    left = [one for one in released if one.file and _is_left(one)]
    return "; ".join(f"{one.cgroup}/{one.file}: {one.why}" for one in left) or None


def _is_left(one: Released) -> bool:
    return one.result in (Result.REFUSED, Result.HELD_BACK)


def _words(one: Released) -> str:
    """Name a result; a cgroup of ours in which processes live on is kept, which is no failure."""
    if one.file:
        return _RESULT_WORDS[one.result]
    return "removed" if one.result is Result.APPLIED else "kept"
