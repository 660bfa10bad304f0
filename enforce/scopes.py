"""Puts processes into a slice of systemd's, in a scope of their own, which systemd makes and keeps.

A scope belongs to nobody's service: whatever becomes of tidegate's units, its processes live on.
"""

import os
import time
from typing import Any

from enforce.bus import BusError, RefusedError, manager_call
from enforce.membership import MembershipError, cgroup_of, watched

_PATIENCE_S, _PAUSE_S = 5.0, 0.01


def move_to_slice(slice_name: str, tenant: str, pid: int) -> str:
    """Have systemd start a scope in a slice with one process, and wait until it is there.

    Children that it has already stay where they are.  The scope is gone once its last process is.

    Returns:
        Which cgroup it was in before, below the mount.

    Raises:
        MembershipError: There is no such process, or systemd cannot be asked, refuses, or does not
            get to it.

    """
    scope = f"tidegate-{pid}-{time.monotonic_ns()}.scope"
    properties: list[tuple[str, tuple[str, Any]]] = [
        ("Description", ("s", f"process {pid} in tidegate's tenant {tenant}")),
        ("Slice", ("s", slice_name)),
        ("PIDs", ("au", [pid])),
        ("CollectMode", ("s", "inactive-or-failed")),
    ]
    with watched(pid, slice_name) as before:
        _start(scope, properties)
        deadline_s = time.monotonic() + _PATIENCE_S
        while not cgroup_of(pid).endswith(f"/{scope}"):
            if time.monotonic() > deadline_s:
                raise MembershipError(
                    f"process {pid} is not in {slice_name}: systemd has not started {scope}",
                    f"systemctl status {scope}",
                )
            time.sleep(_PAUSE_S)  # noqa: TID251 - in a command, no tick
    return before


def _start(scope: str, properties: list[tuple[str, tuple[str, Any]]]) -> None:
    try:
        body: tuple[Any, ...] = (scope, "fail", properties, [])
        manager_call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
    except RefusedError as error:
        hint = "" if os.geteuid() == 0 else "run this as root (sudo)"
        raise MembershipError(f"{scope} is not started: {error}", hint) from error
    except BusError as error:
        raise MembershipError(str(error), "a slice is systemd's: does it run here?") from error
