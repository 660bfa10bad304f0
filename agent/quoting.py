"""Texts from outside in messages: in quotes, on one line, and not too long.  Pure."""

from typing import Final

MOST_SHOWN: Final = 60


def quoted(text: str) -> str:
    """Return a text in quotes, escaped so that it controls no terminal, and cut if it is long."""
    return cut(repr(text))


def cut(text: str) -> str:
    """Return a text of which no more is left than is shown."""
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."
