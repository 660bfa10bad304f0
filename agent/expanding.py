"""Has the occurrences of events worked out by a child process; see `agent.expansion`.

Not for the tick: it takes a quarter of a second, and as long as it may with hostile rules.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from agent.event import MOST_OCCURRENCES, EventSource, Expansion, Occurrence
from agent.event_keys import shown_name
from agent.expansion import Expanded, Request, Source, too_many
from agent.reading import SharedReading

WINDOW_S = 2 * 86_400.0
PAST_S = 3 * 3600.0  # what has ended is still in forecasts for 32 steps
_SOURCE_CPU_S = 10.0  # a full MiB of recurring events takes some 6
_ALL_CPU_S = 30.0  # each source has an even share, and what others leave
_WALL_S = 35.0  # after which what was found till then is the answer
_PATIENCE_S = 40.0  # `tidegate reload` waits 60 s, systemd 90 s for the agent to start
_LOOK_S = 0.2  # how often it is seen whether the answer is still wanted
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


def _always() -> bool:
    return True


def expanded(
    sources: Sequence[EventSource], since_s: float, is_wanted: Callable[[], bool] = _always
) -> Expansion:
    """Return when events are on within two days from `since_s` (UNIX time), or shortly before.

    Files that have not been read are read now.  Whatever fails is a problem of its source; where
    the answer is no longer wanted, that is the problem of all.
    """
    until_s, ended_s = since_s + WINDOW_S, since_s - PAST_S
    sources, problems = _all_read(sources)
    asked = [at for at, source in enumerate(sources) if source.needs_expansion and not problems[at]]
    # Many tenants have the same rule.
    requests = [_request(sources[at]) for at in asked]
    each = _affordable(dict.fromkeys(requests))
    limits = MOST_OCCURRENCES, _SOURCE_CPU_S, _ALL_CPU_S, _WALL_S
    answers = _answered(Request(ended_s, until_s, each, *limits), is_wanted)
    answer_to = dict(zip(each, answers, strict=True))
    found = [
        Occurrence(*source.span_s, source.name, at)
        for at, source in enumerate(sources)
        if source.span_s is not None and source.span_s[0] < until_s and source.span_s[1] > ended_s
    ]
    for at, request in zip(asked, requests, strict=True):
        answer = answer_to.get(request, _TOO_LARGE)
        if len(found) + len(answer.occurrences) > MOST_OCCURRENCES:
            answer = Expanded(problem=too_many(MOST_OCCURRENCES))
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
            problems[at] = f"cannot be read: {error.strerror or error}"
            continue
        if not contents.strip():
            problems[at] = "expected an iCalendar file, got an empty one"
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


def _answered(request: Request, is_wanted: Callable[[], bool]) -> Sequence[Expanded]:
    """Ask a child; where it fails, that is the problem of all that was asked for."""
    if not request.sources:
        return ()
    try:
        with subprocess.Popen(  # noqa: S603 - our own command, no shell
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"LANG": "C.UTF-8"},
            close_fds=False,  # ours are close-on-exec; walking through tens of thousands takes long
            process_group=0,  # with those that it forks
        ) as child:
            try:
                answer = _told_by(child, msgspec.msgpack.encode(request), is_wanted)
            finally:
                if child.returncode is None:
                    os.killpg(child.pid, signal.SIGKILL)
        return _decoded(answer, len(request.sources))
    except (OSError, subprocess.SubprocessError, ValueError, msgspec.MsgspecError) as error:
        return [Expanded(problem=f"cannot be expanded: {error}")] * len(request.sources)


def _told_by(
    child: "subprocess.Popen[bytes]", request: bytes, is_wanted: Callable[[], bool]
) -> bytes:
    """Return what a child answers.

    Raises:
        SubprocessError: It failed, or has not answered in time.
        ValueError: Its answer is no longer wanted.

    """
    until_s = time.monotonic() + _PATIENCE_S
    unsent: bytes | None = request
    while True:
        try:
            answer, _ = child.communicate(unsent, timeout=_LOOK_S)
        except subprocess.TimeoutExpired:
            unsent = None  # all but what is on its way
            if not is_wanted():
                raise ValueError("another configuration is in its place") from None
            if time.monotonic() >= until_s:
                raise subprocess.TimeoutExpired(_COMMAND, _PATIENCE_S) from None
        else:
            if child.returncode:
                raise subprocess.CalledProcessError(child.returncode, _COMMAND)
            return answer


def _decoded(answer: bytes, count: int) -> Sequence[Expanded]:
    answers = msgspec.msgpack.decode(answer, type=tuple[Expanded, ...])
    if len(answers) != count:
        raise ValueError(f"{len(answers)} answers instead of {count}")
    return answers
