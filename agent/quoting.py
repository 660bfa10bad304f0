"""Texts from outside in messages: in quotes, on one line, and not too long.  Pure."""

import difflib
from collections.abc import Iterable
from typing import Final

MOST_SHOWN: Final = 60


def quoted(text: str) -> str:
    """Return a text in quotes, escaped so that it controls no terminal, and cut if it is long."""
    return cut(repr(text))


def cut(text: str) -> str:
    """Return a text of which no more is left than is shown."""
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."


def meant(text: str, known: Iterable[str]) -> str:
    """Return a hint at the known name that `text` is close to; "" where none is."""
    near = difflib.get_close_matches(text[:MOST_SHOWN].lower(), list(map(str, known)), n=1)
    return f"did you mean {near[0]!r}?" if near else ""
