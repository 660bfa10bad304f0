"""Many empty cgroups of our own for benchmarks, removed afterwards."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from enforce.made import ensure


@contextmanager
def cgroups(mount: Path, count: int) -> Iterator[tuple[Path, list[str]]]:
    """Make `count` cgroups below one of our own, with what controllers there are."""
    root, names = mount / f"tidegate-bench-{os.getpid()}", [f"t{n:05}" for n in range(count)]
    problems = ensure(root, names)
    if set(problems) - {str(root)}:
        raise SystemExit(f"cannot make cgroups: {next(iter(problems.values()))}")
    try:
        yield root, names
    finally:
        for name in names:
            (root / name).rmdir()
        root.rmdir()
