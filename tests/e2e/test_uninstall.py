"""Coming and going: a service put into a tenant, and tidegate taken off the host under it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from readme import CHECKOUT, drop_in
from tenants import wait_until

pytestmark = pytest.mark.e2e
ETC = Path("/etc/tidegate")
CGROUP = Path("/sys/fs/cgroup/tidegate.slice/tidegate-tenants.service/guest")
COMMAND = Path("/usr/local/bin/tidegate")
GUEST = Path("/run/systemd/system/guest.service")
DROP_IN = GUEST.with_name("guest.service.d") / "tenant.conf"
HELPER = Path("/usr/local/lib/tidegate/tenant")
HOST_FILE = """
[host]
cpu_capacity_cores = 0.5
memory_capacity_bytes = "256M"
[periods]
tick_s = 0.2
step_s = 1
horizon_s = 5
learning_s = 1
[modes]
cpu = "strict"
"""
TENANT_FILE = 'qos = "gold"\n[cpu]\nfloor_cores = 0.1\nceiling_cores = 0.3\n'


def run(*argv: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(argv, check=False, timeout=90, capture_output=True, text=True)
    assert not (check and done.returncode), f"{argv}: {done.stdout}{done.stderr}"
    return done


def main_pid() -> str:
    show = run("systemctl", "show", "--property", "MainPID", "--value", "guest.service")
    return show.stdout.strip()


@pytest.fixture
def guest(installed: Path) -> Iterator[Path]:
    """A service of someone else's whose processes live in a tenant, under an enforcing agent."""
    assert installed.is_dir()
    (ETC / "tidegate.toml").write_text(HOST_FILE)
    (ETC / "tenants.d/guest.toml").write_text(TENANT_FILE)
    GUEST.parent.mkdir(exist_ok=True)
    GUEST.write_text("[Service]\nExecStart=/bin/sleep 600\n")
    DROP_IN.parent.mkdir(exist_ok=True)
    DROP_IN.write_text(drop_in("guest", "/bin/sleep 600"))
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "tidegate.service", "guest.service")
    yield CGROUP
    run("systemctl", "stop", "guest.service")
    GUEST.unlink()
    run(CHECKOUT / "scripts/lab-install")  # for the tests that come after


def test_an_uninstall_puts_limits_back_and_ends_no_tenant(guest: Path) -> None:
    wait_until(lambda: (guest / "cpu.max").read_text() != "max 100000\n", limit_s=20)
    (guest / "memory.max").write_text("300M")  # not tidegate's, so it stays
    pid = main_pid()
    said = run(CHECKOUT / "scripts/uninstall.sh").stdout
    assert f"{guest / 'guest.service'}" in said
    assert "without limits" not in said
    assert "guest: cpu.max max 100000; cpu.weight 100; memory.high max; memory.low 0" in said
    assert f"memory.max {300 << 20}" in said
    assert "tidegate.slice: cpu.weight 100\n" in said
    assert (guest.parents[1] / "cpu.weight").read_text() == "100\n"
    assert main_pid() == pid
    assert (guest / "guest.service/cgroup.procs").read_text().split() == [pid]
    assert (guest / "cpu.max").read_text() == "max 100000\n"
    assert (guest / "memory.high").read_text() == "max\n"
    assert not COMMAND.exists()
    assert run("systemctl", "cat", "tidegate.service", check=False).returncode != 0
    assert (ETC / "tenants.d/guest.toml").exists()
    assert f"kept {HELPER}" in said
    run("systemctl", "restart", "guest.service")  # what needs the helper still starts
    DROP_IN.unlink()
    run("systemctl", "daemon-reload")
    again = run(CHECKOUT / "scripts/uninstall.sh", "--purge")
    assert again.stdout.splitlines()[-1] == "uninstall: done"
    assert not HELPER.exists()
    assert not ETC.exists()
    assert not Path("/var/lib/tidegate").exists()


def test_an_unknown_option_removes_nothing(installed: Path) -> None:
    done = run(CHECKOUT / "scripts/uninstall.sh", "--all", check=False)
    assert done.returncode != 0
    assert "--purge" in done.stderr
    assert COMMAND.exists()
    assert (installed / "tidegate.service").exists()
