"""Coming and going: a service put into a tenant, and tidegate taken off the host under it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tenants import wait_until

pytestmark = pytest.mark.e2e
CHECKOUT = Path(__file__).parents[2]
ETC = Path("/etc/tidegate")
CGROUP = Path("/sys/fs/cgroup/tidegate.slice/tidegate-tenants.service/guest")
COMMAND = Path("/usr/local/bin/tidegate")
GUEST = Path("/run/systemd/system/guest.service")
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
    return subprocess.run(argv, check=check, timeout=90, capture_output=True, text=True)


def main_pid() -> str:
    show = run("systemctl", "show", "--property", "MainPID", "--value", "guest.service")
    return show.stdout.strip()


def drop_in() -> str:
    """Return the README's own drop-in, for this tenant."""
    _, _, after = (CHECKOUT / "README.md").read_text().partition("# systemctl edit web.service\n")
    text, _, _ = after.partition("```")
    assert "cgroup.procs" in text
    return text.replace("/web/", "/guest/")


@pytest.fixture
def guest(installed: Path) -> Iterator[Path]:
    """A service of someone else's whose processes live in a tenant, under an enforcing agent."""
    assert installed.is_dir()
    (ETC / "tidegate.toml").write_text(HOST_FILE)
    (ETC / "tenants.d/guest.toml").write_text(TENANT_FILE)
    GUEST.parent.mkdir(exist_ok=True)
    GUEST.write_text("[Service]\nExecStart=/bin/sleep 600\n")
    folder = GUEST.with_name("guest.service.d")
    folder.mkdir(exist_ok=True)
    (folder / "tenant.conf").write_text(drop_in())
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "tidegate.service", "guest.service")
    yield CGROUP
    run("systemctl", "stop", "guest.service")
    GUEST.unlink()
    run(CHECKOUT / "scripts/lab-install")  # for the tests that come after


def test_a_service_is_in_its_tenant_again_after_its_restart(guest: Path) -> None:
    for _ in range(2):
        run("systemctl", "restart", "guest.service")
        assert (guest / "cgroup.procs").read_text().split() == [main_pid()]
    run("systemctl", "stop", "guest.service")
    assert (guest / "cgroup.procs").read_text() == ""
    run(CHECKOUT / "scripts/uninstall.sh")


def test_an_uninstall_puts_limits_back_and_ends_no_tenant(guest: Path) -> None:
    wait_until(lambda: (guest / "cpu.max").read_text() != "max 100000\n", limit_s=20)
    pid = main_pid()
    said = run(CHECKOUT / "scripts/uninstall.sh").stdout
    assert str(guest) in said
    assert main_pid() == pid
    assert (guest / "cgroup.procs").read_text().split() == [pid]
    assert (guest / "cpu.max").read_text() == "max 100000\n"
    assert (guest / "memory.high").read_text() == "max\n"
    assert not COMMAND.exists()
    assert run("systemctl", "cat", "tidegate.service", check=False).returncode != 0
    assert (ETC / "tenants.d/guest.toml").exists()
    again = run(CHECKOUT / "scripts/uninstall.sh", "--purge")
    assert again.stdout.splitlines()[-1] == "uninstall: done"
    assert not ETC.exists()
    assert not Path("/var/lib/tidegate").exists()


def test_an_unknown_option_removes_nothing(installed: Path) -> None:
    done = run(CHECKOUT / "scripts/uninstall.sh", "--all", check=False)
    assert done.returncode != 0
    assert "--purge" in done.stderr
    assert COMMAND.exists()
    assert (installed / "tidegate.service").exists()
