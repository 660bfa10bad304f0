"""Who made a cgroup, by the names that runtimes give; no others are told of."""

import os
from pathlib import Path

import pytest

from enforce.foreign import made_by_others, maker, unescaped
from enforce.places import cgroups_like, folders_in

ID = "0123456789ab" * 5 + "cdef"
POD = "pod1a2b3c4d_0000_4000_8000_00000000000f"
BURSTABLE = "kubepods.slice/kubepods-burstable.slice"
MADE = {
    f"system.slice/docker-{ID}.scope": "a container of Docker's",
    f"docker/{ID}": "a container of Docker's",
    f"machine.slice/libpod-{ID}.scope": "a container of Podman's",
    f"libpod_parent/libpod-{ID}": "a container of Podman's",
    f"libpod_parent/{ID}/libpod-{ID}": "a container of Podman's",
    f"web.slice/libpod-payload-{ID}": "a container of Podman's",
    f"kubepods.slice/kubepods-{POD}.slice": "a pod of Kubernetes'",
    f"{BURSTABLE}/kubepods-burstable-{POD}.slice": "a pod of Kubernetes'",
    f"kubepods/besteffort/{POD.replace('_', '-')}": "a pod of Kubernetes'",
    r"machine.slice/machine-qemu\x2d3\x2da\x2db.scope": "a virtual machine of libvirt's (a-b)",
    "qemu.slice/104.scope": "a virtual machine of Proxmox' (104)",
    "lxc.payload.web": "a container of LXC's (web)",
    "machine.slice/systemd-nspawn@web.service": "a container of systemd-nspawn's (web)",
}
OTHERS = (
    "system.slice/docker.service",
    "system.slice/containerd.service",
    f"machine.slice/libpod-conmon-{ID}.scope",
    "user.slice/user-1000.slice/session-1.scope",
    "kubepods.slice/kubepods-burstable.slice/nothing",
    "system.slice/docker-short.scope",
)


@pytest.mark.parametrize(("path", "what"), MADE.items())
def test_what_a_runtime_makes_is_known_by_its_name(path: str, what: str) -> None:
    assert maker(Path("/sys/fs/cgroup") / path) == what


@pytest.mark.parametrize("path", [*OTHERS, "../etc"])
def test_of_all_else_nothing_is_said(path: str) -> None:
    assert maker(Path("/sys/fs/cgroup") / path) is None
    assert maker(Path("/elsewhere") / next(iter(MADE))) is None


def test_each_that_was_made_is_found_once_and_nothing_in_it(tmp_path: Path) -> None:
    for path in (*MADE, *OTHERS):
        (tmp_path / path / f"cri-containerd-{ID}.scope").mkdir(parents=True)
    (tmp_path / "link.slice").symlink_to(tmp_path / "system.slice")
    (tmp_path / "kubepods.slice/kubepods-burstable.slice/nothing").rename(tmp_path / "apart")
    for other in OTHERS:
        for inner in (tmp_path / other).glob("*"):
            inner.rmdir()
    assert made_by_others(tmp_path) == sorted(tmp_path / path for path in MADE)


def test_escapes_of_systemd_are_undone_and_no_others() -> None:
    assert unescaped(r"my\x2dshop\x20\u0041\x2") == r"my-shop \u0041\x2"


def test_nothing_that_would_control_a_terminal_is_told(tmp_path: Path) -> None:
    """Whoever may make cgroups gives them any name; no runtime gives one of these."""
    plain = tmp_path / "lxc.payload.web"
    for name in (b"web", b"\x1b]0;mine\x07", b"\r", b"\xff"):
        Path(os.fsdecode(bytes(tmp_path / "lxc.payload.") + name)).mkdir()
    assert made_by_others(tmp_path) == [plain]
    assert cgroups_like("lxc.payload.*", tmp_path, folders_in) == [plain]
    assert unescaped(r"a\x1b]0;mine\x07\x2db") == r"a\x1b]0;mine\x07-b"
