"""README's drop-in: a service starts inside its tenant, and ends there with all that it left."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from children import process_state
from readme import CHECKOUT, drop_in
from tenants import wait_until

pytestmark = pytest.mark.e2e
ETC = Path("/etc/tidegate")
TENANT = Path("/sys/fs/cgroup/tidegate.slice/tidegate-tenants.service/site")
HOME = TENANT / "site.service"
OUTSIDE = Path("/sys/fs/cgroup/system.slice/site.service")
UNIT = Path("/run/systemd/system/site.service")
PROGRAM = Path("/usr/local/bin/site-server")
COMMAND = f'{PROGRAM} "two words" %n'
READY = "ready 1 ['two words', 'site.service']"
WITHIN = ("_SYSTEMD_CGROUP=" + str(HOME).removeprefix("/sys/fs/cgroup"),)
MIB = 1 << 20
HELD_MIB = 10
# As nginx or php-fpm: memory and two workers are there before it says that it is ready, and the
# workers outlive a main process that is killed.
SOURCE = f"""#!/usr/bin/python3
import os, signal, socket, sys, time
print("early", flush=True)
held = b"x" * ({HELD_MIB} << 20)
for _ in range(2):
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        own = b"y" * ({HELD_MIB} << 20)
        while True:
            time.sleep(600)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
print("ready", os.getuid(), sys.argv[1:], flush=True)
while True:
    time.sleep(600)
"""
SERVICE = f"""
[Service]
Type=notify
User=daemon
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectControlGroups=yes
ProtectSystem=strict
PrivateNetwork=yes
MemoryMax=200M
TasksMax=7
TimeoutStopSec=2
ExecStart={COMMAND}
"""


def run(*argv: str | Path, check: bool = True) -> str:
    done = subprocess.run(argv, check=check, timeout=90, capture_output=True, text=True)
    return done.stdout.strip()


def shown(name: str) -> str:
    return run("systemctl", "show", "--property", name, "--value", UNIT.name)


def living(cgroup: Path) -> list[str]:
    return sorted((cgroup / "cgroup.procs").read_text().split(), key=int)


def lives(pid: str) -> bool:
    """Say whether a process is at work: one that has ended may wait to be seen by its parent."""
    return process_state(int(pid)) not in {"", "Z"}


def told(*query: str) -> list[str]:
    """Return the service's own words in the journal."""
    return run("journalctl", "--no-pager", "--output=cat", *query).splitlines()


def settings() -> str:
    """Return the line of docs/services.md that replaces the unit's own limits, for this tenant."""
    lines = (CHECKOUT / "docs/services.md").read_text().splitlines()
    (line,) = [each for each in lines if each.startswith("ExecStartPre=") and "pids.max" in each]
    assert " web %n " in line
    return line.replace(" web %n ", " site %n ")


def edit(text: str) -> None:
    folder = UNIT.with_name(f"{UNIT.name}.d")
    folder.mkdir(exist_ok=True)
    (folder / "tenant.conf").write_text(text)
    run("systemctl", "daemon-reload")


@pytest.fixture(scope="module")
def observing(installed: Path) -> Iterator[None]:
    """The agent, with one tenant that is only observed."""
    assert installed.is_dir()
    (ETC / "tidegate.toml").write_text("")
    (ETC / "tenants.d/site.toml").write_text('observe = true\nqos = "gold"\n')
    run("systemctl", "start", "tidegate.service")
    yield
    run("systemctl", "stop", "tidegate.service")
    run("tidegate", "release")
    (ETC / "tenants.d/site.toml").unlink()


@pytest.fixture
def site(observing: None) -> Iterator[None]:
    """A hardened service with two early workers, which the drop-in puts into the tenant."""
    PROGRAM.write_text(SOURCE)
    PROGRAM.chmod(0o755)
    UNIT.write_text(SERVICE)
    edit(drop_in("site", COMMAND))
    yield
    run("systemctl", "stop", UNIT.name)
    UNIT.unlink()
    (UNIT.with_name(f"{UNIT.name}.d") / "tenant.conf").unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed")


@pytest.mark.usefixtures("site")
def test_a_service_is_wholly_in_its_tenant_and_wholly_gone_after_a_stop() -> None:
    run("systemctl", "start", UNIT.name)
    first = living(HOME)
    assert len(first) == 3
    assert first[0] == shown("MainPID")
    assert living(OUTSIDE) == []
    wait_until(lambda: int((TENANT / "memory.current").read_text()) > 3 * HELD_MIB * MIB)
    # None of it stayed; the kernel sums up what processes before it gave back within seconds.
    wait_until(lambda: "anon 0" in (OUTSIDE / "memory.stat").read_text().splitlines())
    wait_until(
        lambda: told(*WITHIN).count("early") == 1
    )  # told of who lives, or it tells no cgroup
    assert Path(f"/proc/{first[0]}/environ").read_bytes().count(b"LC_CTYPE=") == 0
    run("systemctl", "restart", UNIT.name)
    second = living(HOME)
    assert len(second) == 3
    assert not any(map(lives, first))
    wait_until(lambda: told(*WITHIN).count("early") == 2)
    wait_until(lambda: told("-t", "site").count(READY) == 2)
    run("systemctl", "stop", UNIT.name)
    assert shown("Result") == "success"
    assert not any(map(lives, second))
    assert not HOME.exists()
    assert told("-t", "site").count(READY) == told(*WITHIN).count("early") == 2


@pytest.mark.usefixtures("site")
def test_workers_of_a_main_process_that_was_killed_are_ended_too() -> None:
    run("systemctl", "start", UNIT.name)
    pids = living(HOME)
    run("systemctl", "kill", "--kill-who=main", "--signal=KILL", UNIT.name)
    wait_until(lambda: shown("ActiveState") == "failed", pause_s=0.1)
    assert not any(map(lives, pids))


@pytest.mark.usefixtures("site")
def test_what_replaces_the_unit_s_own_limits_is_in_force_before_the_service_starts() -> None:
    edit(f"{drop_in('site', COMMAND)}ExecStartPre=\n{settings()}\n")
    run("systemctl", "start", UNIT.name)
    assert (TENANT / "memory.max").read_text() == f"{200 * MIB}\n"
    assert (TENANT / "pids.max").read_text() == "7\n"
    assert len(living(HOME)) == 3


@pytest.mark.usefixtures("site")
def test_a_service_whose_tenant_is_not_there_starts_outside_and_says_so() -> None:
    edit(drop_in("site", COMMAND).replace(" site %n", " sight %n"))
    run("systemctl", "start", UNIT.name)
    assert len(living(OUTSIDE)) == 3

    def is_told() -> bool:
        errors = told("-t", "site", "-p", "err")
        return any("starts outside its tenant" in line and "/sight" in line for line in errors)

    wait_until(is_told, pause_s=0.1)
    assert not (TENANT.parent / "sight").exists()
