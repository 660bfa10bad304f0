"""Replaces a file by one that is on the disk already: whatever happens, one of the two is there."""

import itertools
import os
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Write `text` to `path`, whose folder is made where it is missing.

    Raises:
        OSError: The disk did not take it; the file is as it was.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    with open(new, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def aside_of(path: Path, why: str = "damaged") -> Path:
    """Return a name beside `path` that is free, for a file there which cannot be used."""
    names = (f"{path.name}.{why}-{number}" for number in itertools.count(1))
    return next(one for one in map(path.with_name, names) if not one.exists())
