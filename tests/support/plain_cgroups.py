"""Plain directories that stand for cgroups."""

from pathlib import Path


def make(path: Path, **files: str) -> Path:
    """Make a directory with a cgroup's control files, which hold these texts; return it."""
    path.mkdir(exist_ok=True)
    for file, text in ({"cgroup.procs": ""} | files).items():
        (path / file).write_text(text)
    return path
