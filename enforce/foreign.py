"""Cgroups that container runtimes and managers of virtual machines make: told by their names.

Nothing here is taken: whose they are `doctor` says, and a tenant's file says which are tenants.
"""

import re
from pathlib import Path

from enforce.places import MOUNT, folders_in

_ID = r"[0-9a-f]{12,64}"
_POD = r"pod[0-9a-f][0-9a-f_-]{7,63}"
# By what they end in, below the mount; what is named first may be in what is named later.
_MAKERS = [
    (re.compile(rf"(?:^|/){pattern}$", re.ASCII), what)
    for pattern, what in (
        (rf"docker(?:-{_ID}\.scope|/{_ID})", "a container of Docker's"),
        (rf"libpod-(?:payload-)?{_ID}(?:\.scope)?(?:/container)?", "a container of Podman's"),
        (rf"(?:cri-containerd|crio)-{_ID}(?:\.scope)?", "a container of Kubernetes'"),
        (rf"kubepods(?:/burstable|/besteffort)?/{_POD}/{_ID}", "a container of Kubernetes'"),
        (rf"kubepods(?:-[a-z]+)?-{_POD}\.slice", "a pod of Kubernetes'"),
        (rf"kubepods(?:/burstable|/besteffort)?/{_POD}", "a pod of Kubernetes'"),
        (r"machine-qemu\\x2d\d+\\x2d(?P<name>[^/]+)\.scope", "a virtual machine of libvirt's"),
        (r"machine-lxc\\x2d\d+\\x2d(?P<name>[^/]+)\.scope", "a container of libvirt's"),
        (r"qemu\.slice/(?P<name>\d+)\.scope", "a virtual machine of Proxmox'"),
        (r"lxc\.payload\.(?P<name>[^/]+)", "a container of LXC's"),
        (r"lxc/(?P<name>[^/]+)", "a container of LXC's"),
        (r"systemd-nspawn@(?P<name>[^/]+)\.service", "a container of systemd-nspawn's"),
    )
]
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})", re.ASCII)
_FOLDERS = re.compile(
    r".*\.slice|docker|kubepods|burstable|besteffort|pod.*|libpod_parent|lxc|[0-9a-f]{64}"
)
_MOST_FOLDERS = 4096


def maker(path: Path, mount: Path = MOUNT) -> str | None:
    """Say in words what made a cgroup, of a virtual machine with its name; None if that is open."""
    if not path.is_relative_to(mount):
        return None
    below = str(path.relative_to(mount))
    for pattern, what in _MAKERS:
        if match := pattern.search(below):
            name = match.groupdict().get("name")
            return f"{what} ({unescaped(name)})" if name else what
    return None


def unescaped(name: str) -> str:
    r"""Return what systemd escaped in a unit's name: \x2d is a dash (systemd-escape(1)).

    What would control a terminal stays escaped.
    """

    def meant(match: re.Match[str]) -> str:
        letter = chr(int(match[1], 16))
        return letter if letter.isprintable() else match[0]

    return _ESCAPED.sub(meant, name)


def made_by_others(mount: Path = MOUNT) -> list[Path]:
    """Return the outermost cgroups that a runtime made, in order; slices and the like are walked.

    At most some thousands are looked at.
    """
    folders, seen, found = [mount], 0, list[Path]()
    while folders and seen < _MOST_FOLDERS:
        folder, seen = folders.pop(0), seen + 1
        for name in folders_in(folder):
            path = folder / name
            if maker(path, mount) is not None:
                found.append(path)
            elif _FOLDERS.fullmatch(name):
                folders.append(path)
    return sorted(found)
