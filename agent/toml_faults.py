"""Says what is wrong with a file that is no TOML: in which line, and in which event.  Pure."""

import re
from collections.abc import Sequence

from agent.quoting import quoted

_PLACE = re.compile(r"\(at line (\d+), column \d+\)$", re.ASCII)
_EVENT = re.compile(r"[ \t]*\[\[[ \t]*events[ \t]*\]\].*")
_NAME = re.compile(r"""[ \t]*name[ \t]*=[ \t]*(["'])(.{1,80}?)\1""")
_TWICE = {  # what tomllib says, and what it means
    "Cannot overwrite a value": "this key is set twice",
    "Duplicate inline table key": "this key is set twice",
    "Cannot declare (": "this table is there twice",
    "Cannot mutate immutable namespace (": "this table is there already, and closed",
}


def toml_fault(message: str, text: str) -> str:
    """Return what tomllib found, in plain words where a name is there twice, and of which event."""
    place = _PLACE.search(message)
    where = f"line {place[1]}" if place else "the last line"
    said = (words for start, words in _TWICE.items() if message.startswith(start))
    found = next((f"{where}: {words}" for words in said), f"not valid TOML: {message}")
    name = _event_around(text.split("\n"), int(place[1])) if place else ""
    return f"{found}, in event {quoted(name)}" if name else found


def _event_around(lines: Sequence[str], line: int) -> str:
    """Return the name in the [[events]] table that a line (from 1) stands in; "" without one."""
    heads = [at for at, text in enumerate(lines) if text.lstrip(" \t").startswith("[")]
    begun = max((at for at in heads if at < line), default=None)
    if begun is None or not _EVENT.fullmatch(lines[begun]):
        return ""
    ended = min((at for at in heads if at > begun), default=len(lines))
    names = (_NAME.match(text) for text in lines[begun:ended])
    return next((name[2] for name in names if name), "")
