"""Has the occurrences of events worked out by a child process; see `agent.expansion`.

Not for the tick: it takes a quarter of a second, and as long as it may with hostile rules.
"""

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from agent.event import EventSource, Expansion, Occurrence
from agent.event_keys import shown_name
from agent.expansion import Expanded, Request, Source, too_many
from agent.keys import shown
from agent.reading import SharedReading

WINDOW_S = 2 * 86_400.0
PAST_S = 3 * 3600.0  # what has ended is still in forecasts for 32 steps
_MOST_OCCURRENCES = 50_000  # the agent keeps them: some 200 bytes each
_SOURCE_CPU_S = 10.0  # a full MiB of recurring events takes some 6
_PATIENCE_S = 45.0  # systemd waits 90 s for the agent to start
# Ten years of holidays take 100 kB; all are kept, for days to come.
_MOST_BYTES, _MOST_OF_ALL_BYTES = 1 << 20, 4 << 20
# Of all files together, each as often as there are time zones that it is read in.
_MOST_CALENDAR_BYTES = 8 << 20
_TOO_LARGE = Expanded(problem="all calendars, in all their time zones, are larger than 8 MiB")
_COMMAND = (sys.executable, "-I", "-m", "agent.expansion")


def calendar_reading(taken_bytes: int = 0) -> SharedReading:
    """Return what reads iCalendar files, of which so much has been read already."""
    return SharedReading(
        most_bytes=_MOST_BYTES, most_of_all_bytes=_MOST_OF_ALL_BYTES, taken_bytes=taken_bytes
    )


def expanded(sources: Sequence[EventSource], since_s: float) -> Expansion:
    """Return when events are on within two days from `since_s` (UNIX time), or shortly before.

    Files that have not been read are read now.  Whatever fails is a problem of its source.
    """
    until_s, ended_s = since_s + WINDOW_S, since_s - PAST_S
    sources, problems = _all_read(sources)
    asked = [at for at, source in enumerate(sources) if source.needs_expansion and not problems[at]]
    # Many tenants have the same rule.
    requests = [_request(sources[at]) for at in asked]
    each = _affordable(dict.fromkeys(requests))
    limits = _MOST_OCCURRENCES, _SOURCE_CPU_S
    answer_to = dict(zip(each, _answered(Request(ended_s, until_s, each, *limits)), strict=True))
    found = [
        Occurrence(*source.span_s, source.name, at)
        for at, source in enumerate(sources)
        if source.span_s is not None and source.span_s[0] < until_s and source.span_s[1] > ended_s
    ]
    for at, request in zip(asked, requests, strict=True):
        answer = answer_to.get(request, _TOO_LARGE)
        if len(found) + len(answer.occurrences) > _MOST_OCCURRENCES:
            answer = Expanded(problem=too_many(_MOST_OCCURRENCES))
        problems[at] = answer.problem
        found += [
            Occurrence(start_s, end_s, shown_name(name) or "unnamed", at)
            for name, start_s, end_s in answer.occurrences
        ]
    return Expansion(since_s, until_s, tuple(sorted(found)), tuple(problems))


def _all_read(sources: Sequence[EventSource]) -> tuple[list[EventSource], list[str]]:
    """Return the sources with their files' contents, and why some have none."""
    taken = {source.path: len(source.calendar) for source in sources if source.calendar}
    read = calendar_reading(sum(taken.values()))
    found, problems = list(sources), [""] * len(sources)
    for at, source in enumerate(sources):
        if not source.path:
            continue
        try:
            contents = source.calendar or read(Path(source.path))
        except OSError as error:
            problems[at] = f"{shown(source.path)} cannot be read: {error.strerror or error}"
            continue
        if not contents.strip():
            problems[at] = f"expected an iCalendar file, got an empty one: {source.path}"
        found[at] = replace(source, calendar=contents)
    return found, problems


def _affordable(requests: Iterable[Source]) -> tuple[Source, ...]:
    """Return what is asked for: a file is sent once for each time zone that it is read in."""
    taken, left_bytes = [], _MOST_CALENDAR_BYTES
    for request in requests:
        if len(request.calendar) <= left_bytes:
            taken.append(request)
            left_bytes -= len(request.calendar)
    return tuple(taken)


def _request(source: EventSource) -> Source:
    return Source(
        source.timezone,
        source.calendar,
        source.name,
        starts=source.starts,
        ends=source.ends,
        lasts_s=source.lasts_s,
        repeat=source.repeat,
    )


def _answered(request: Request) -> Sequence[Expanded]:
    """Ask a child; where it fails, that is the problem of all that was asked for."""
    if not request.sources:
        return ()
    try:
        child = subprocess.run(  # noqa: S603 - our own command, no shell
            _COMMAND,
            input=msgspec.msgpack.encode(request),
            capture_output=True,
            env={"LANG": "C.UTF-8"},
            close_fds=False,  # ours are close-on-exec; walking through tens of thousands takes long
            timeout=_PATIENCE_S,
            check=True,
        )
        return _decoded(child.stdout, len(request.sources))
    except (OSError, subprocess.SubprocessError, ValueError, msgspec.MsgspecError) as error:
        return [Expanded(problem=f"cannot be expanded: {error}")] * len(request.sources)


def _decoded(answer: bytes, count: int) -> Sequence[Expanded]:
    answers = msgspec.msgpack.decode(answer, type=tuple[Expanded, ...])
    if len(answers) != count:
        raise ValueError(f"{len(answers)} answers instead of {count}")
    return answers
