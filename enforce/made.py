"""Cgroups that tidegate makes below its root: made, marked as its own, and removed.

Nobody else's is made or removed here.  What their files hold is `enforce.cgroup`'s.
"""

import errno
import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from enforce.cgroup import CgroupGoneError, LimitRejectedError, TenantCgroup

CONTROLLERS = ("cpu", "memory", "io")
# An attribute of the directory itself: it lives and dies with the cgroup that tidegate made.
_MADE_BY_US = "user.tidegate.made"
_NAME_BYTES_MAX = 255


def name_problem(name: str) -> str | None:
    """Say why `name` cannot be a tenant's cgroup directly below the root, or None."""
    if not name or name in (".", ".."):
        return "expected a name"
    if "/" in name or not name.isprintable():
        return "expected a name without '/' or control characters"
    if len(name.encode()) > _NAME_BYTES_MAX:
        return f"expected at most {_NAME_BYTES_MAX} bytes"
    prefix, dot, _ = name.partition(".")
    if dot and prefix in ("cgroup", "cpu", "cpuset", "memory", "io", "pids", "hugetlb"):
        return "expected a name that no control file has"
    return None


def ensure(root: Path, names: Iterable[str]) -> dict[str, str]:
    """Make what is missing: controllers for `root`'s children, and a cgroup for each name.

    Returns:
        What cannot be made, and why, by tenant; the root's own problem under its path.

    """
    problems: dict[str, str] = {}
    problem = make_root(root) or _opened_up(root)
    if problem:
        problems[str(root)] = problem
    for name in names:
        problem = name_problem(name) or make_marked(root / name)
        if problem:
            problems[name] = problem
    return problems


def make_root(root: Path) -> str | None:
    """Make the tenants' parent where it is missing; return why it cannot be."""
    try:
        root.mkdir()
    except FileExistsError:
        return None
    except OSError as error:
        return error.strerror or str(error)
    return None


def remove_made_by_us(root: Path, *, keep: Collection[str] = ()) -> list[tuple[Path, str | None]]:
    """Remove the cgroups below `root` that `ensure` made and that are empty now, but for `keep`.

    Returns:
        Each one of ours, with the reason where it has to stay.

    """
    others = sorted(path for path in _children(root) if path.name not in keep)
    return [(path, _remove(path)) for path in others if _is_made_by_us(path)]


def _opened_up(root: Path) -> str | None:
    """Hand the controllers on to the children of `root`; return what stands in the way."""
    try:
        with TenantCgroup(root) as parent:
            return _enable_controllers(parent)
    except (CgroupGoneError, LimitRejectedError) as error:
        return str(error)


def _enable_controllers(parent: TenantCgroup) -> str | None:
    """Hand cpu, memory and io on to the children, each by itself: one refusal stops no other."""
    try:
        missing = set(CONTROLLERS) - set(parent.controllers_of_children)
        absent = missing - set(parent.controllers)
    except (CgroupGoneError, LimitRejectedError) as error:
        return str(error)
    problems = [f"no {name} controller here" for name in CONTROLLERS if name in absent]
    for name in sorted(missing - absent):
        try:
            parent.set_property(b"cgroup.subtree_control", f"+{name}")
        except (CgroupGoneError, LimitRejectedError) as error:
            problems.append(str(error))
    return "; ".join(problems) or None


def make_marked(path: Path) -> str | None:
    """Make a cgroup where there is none, marked as ours; return why it cannot be."""
    try:
        path.mkdir()
    except FileExistsError:
        return None if path.is_dir() and not path.is_symlink() else "exists and is no cgroup"
    except OSError as error:
        return error.strerror or str(error)
    # Without the mark (old kernels) the cgroup only outlives `release`.
    with suppress(OSError):
        os.setxattr(path, _MADE_BY_US, b"1")
    return None


def _children(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as entries:
            return [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _is_made_by_us(path: Path) -> bool:
    try:
        return bool(os.getxattr(path, _MADE_BY_US))
    except OSError:
        return False


def _remove(path: Path) -> str | None:
    """Remove a cgroup with what was made in it and is empty; return why it has to stay."""
    for group in filter(_is_made_by_us, _children(path)):
        with suppress(OSError):
            group.rmdir()
    try:
        path.rmdir()
    except OSError as error:
        return "not empty" if error.errno == errno.EBUSY else error.strerror
    return None
