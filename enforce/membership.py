"""Puts processes into a tenant's cgroup, or into a group of it: groups share its limit by weight.

The kernel lets no process live in a cgroup that hands controllers down to its children (Linux,
Documentation/admin-guide/cgroup-v2.rst, "No Internal Process Constraint"): once a tenant has
groups, who lived beside them lives in `normal`.
"""

import errno
import os
import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from enforce.cgroup import CgroupGoneError, LimitRejectedError, TenantCgroup
from enforce.made import make_marked

NORMAL = "normal"
GROUPS: Mapping[str, float] = {"critical": 1000.0, NORMAL: 100.0, "background": 10.0}
# Each round moves who is there; a process that forks as it is moved leaves its child behind.
_MOST_ROUNDS = 50
_MOST_PID = 1 << 22
_DIVIDED_BY = "cpu"
_OUR_SERVICE = "tidegate.service"


class MembershipError(Exception):
    """A process cannot be put there; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


def enter(tenant: Path, group: str | None) -> None:
    """Put this very process into the tenant's cgroup at `tenant`, or into a group of it.

    Raises:
        MembershipError: It cannot be put there.

    """
    with _opened(_home(tenant, group)) as home:
        _join(home, 0, "this process")


def attach(tenant: Path, pid: int, group: str | None) -> str:
    """Put a process, with all its threads, into the tenant's cgroup, or into a group of it.

    Returns:
        Which cgroup it was in before, below the mount.

    Raises:
        MembershipError: There is no such process, or it cannot be put there.

    """
    with watched(pid, tenant) as before, _opened(_home(tenant, group)) as home:
        _join(home, pid, f"process {pid}")
    return before


@contextmanager
def watched(pid: int, home: Path | str) -> Iterator[str]:
    """See to it that a process that is moved to `home` meanwhile is the one that was meant.

    Gives which cgroup it is in until then.  The kernel knows processes there by number only: that
    it was the one meant is sure since it still lives afterwards, by a descriptor that was opened
    before anything was asked of it.

    Raises:
        MembershipError: There is no such process, it ends before it is known to be moved, or it is
            an agent, which would be held by the limits that it sets.

    """
    if not 1 < pid <= _MOST_PID:
        raise MembershipError(f"process {pid} cannot be moved", "expected a number above 1")
    who = f"process {pid}"
    try:
        process = os.pidfd_open(pid)
    except OSError as error:
        is_gone = error.errno in (errno.ESRCH, errno.EINVAL)  # EINVAL: a thread's number
        why = f"there is no {who}" if is_gone else f"{who}: {error.strerror}"
        raise MembershipError(why, "expected the number of a process, not of a thread") from error
    try:
        if _has_ended(process):
            raise MembershipError(f"{who} has ended")
        before = cgroup_of(pid)
        if _OUR_SERVICE in before.split("/"):
            raise MembershipError(f"{who} is tidegate's own", "limits that it sets would hold it")
        yield before
        if _has_ended(process):
            raise MembershipError(
                f"{who} ended as it was moved",
                f"if another process has that number by now, it was moved: see {home}",
            )
    finally:
        os.close(process)


def cgroup_of(pid: int) -> str:
    """Return which cgroup a process is in, below the mount.

    Raises:
        MembershipError: It has ended.

    """
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError as error:
        raise MembershipError(f"process {pid} has ended") from error
    return next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")


def _home(tenant: Path, group: str | None) -> Path:
    """Return the cgroup to live in: the tenant's own, unless that is divided into groups."""
    with _opened(tenant) as cgroup:
        try:
            is_divided = _DIVIDED_BY in cgroup.controllers_of_children
            if group is None and not is_divided:
                return tenant
            if group is not None:
                _divide(cgroup)
            home = tenant / (group or NORMAL)
            if not home.is_dir():
                _make(home)
        except (CgroupGoneError, LimitRejectedError) as error:
            raise _refused(tenant, error) from error
    return home


def _divide(cgroup: TenantCgroup) -> None:
    """Make a tenant's groups where they are missing, and have them share what it has by weight."""
    for name in GROUPS:
        _make(cgroup.path / name)
    if _DIVIDED_BY not in cgroup.controllers_of_children:
        with _opened(cgroup.path / NORMAL) as normal:
            _empty_into(cgroup, normal)
    with suppress(LimitRejectedError):  # no such controller: cpu is shared all the same
        cgroup.set_property(b"cgroup.subtree_control", "+io")
    for name, weight in GROUPS.items():
        with _opened(cgroup.path / name) as group:
            if group.cpu_weight != weight:
                group.cpu_weight = weight
            with suppress(LimitRejectedError):
                group.set_property(b"io.weight", f"default {weight:.0f}")


def _empty_into(cgroup: TenantCgroup, normal: TenantCgroup) -> None:
    """Move all who live in the tenant's own cgroup, until that may hand a controller down."""
    for _ in range(_MOST_ROUNDS):
        for pid in cgroup.text("cgroup.procs").split():
            _move(normal, pid)
        try:
            cgroup.set_property(b"cgroup.subtree_control", f"+{_DIVIDED_BY}")
        except LimitRejectedError as error:
            if _errno(error) != errno.EBUSY:
                raise
        else:
            return
    left = cgroup.text("cgroup.procs").split()
    raise MembershipError(
        f"{cgroup.path} cannot be divided into groups: {len(left)} process(es) stay in it",
        "move them into one of its groups: " + " ".join(left[:5]),
    )


def _move(home: TenantCgroup, pid: str) -> None:
    try:
        home.set_property(b"cgroup.procs", pid)
    except LimitRejectedError as error:
        if _errno(error) not in (errno.ESRCH, errno.EINVAL):  # gone; of another PID namespace
            raise


def _join(home: TenantCgroup, pid: int, who: str) -> None:
    try:
        home.set_property(b"cgroup.procs", str(pid))
    except (CgroupGoneError, LimitRejectedError) as error:
        reasons: Mapping[int, tuple[str, str]] = {
            errno.ESRCH: ("it has ended", ""),
            errno.EINVAL: ("it is the kernel's own", "only processes of programs can be moved"),
            errno.EBUSY: ("that hands controllers down", "name one of its groups: --group normal"),
            errno.EACCES: ("no permission", "run this as root (sudo)"),
            errno.EPERM: ("no permission", "run this as root (sudo)"),
        }
        why, hint = reasons.get(_errno(error), (str(error), ""))
        raise MembershipError(f"{who} cannot be moved to {home.path}: {why}", hint) from error


def _make(path: Path) -> None:
    problem = make_marked(path)
    if problem is not None:
        raise MembershipError(f"{path} cannot be made: {problem}", "run this as root (sudo)")


def _opened(path: Path) -> TenantCgroup:
    try:
        return TenantCgroup(path)
    except CgroupGoneError as error:
        hint = "is the agent running?  systemctl start tidegate"
        raise MembershipError(f"there is no cgroup {path}", hint) from error
    except LimitRejectedError as error:
        raise _refused(path, error) from error


def _refused(path: Path, error: Exception) -> MembershipError:
    hint = "run this as root (sudo)" if _errno(error) in (errno.EACCES, errno.EPERM) else ""
    return MembershipError(f"{path}: {error}", hint)


def _errno(error: Exception) -> int:
    cause = error.__cause__
    return (cause.errno or 0) if isinstance(cause, OSError) else 0


def _has_ended(process: int) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(0))
