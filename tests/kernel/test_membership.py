"""Processes put into tenants by the command line, and groups in a tenant, on a real kernel."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tenants import SPIN, cpu_used_s, living_in, wait_until

from enforce.made import ensure, remove_made_by_us
from enforce.membership import GROUPS, MembershipError, attach

pytestmark = pytest.mark.kernel

PROGRAM = Path(sys.executable).with_name("tidegate")
MEASURED_S = 3.0


@pytest.fixture
def home(cgroup_root: Path, tmp_path: Path) -> Path:
    """Return the cgroup of the tenant "web", who has a file."""
    (tmp_path / "tidegate.toml").write_text(f'[host]\ncgroup_root = "{cgroup_root}"\n')
    (tmp_path / "tenants.d").mkdir()
    (tmp_path / "tenants.d" / "web.toml").write_text('qos = "gold"\n')
    assert ensure(cgroup_root, ["web"]) == {}
    return cgroup_root / "web"


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def started(verb: str, folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    options = ["--config", str(folder / "tidegate.toml")]
    return subprocess.Popen(
        [PROGRAM, verb, *options, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def members(cgroup: Path) -> list[int]:
    return [int(pid) for pid in (cgroup / "cgroup.procs").read_text().split()]


def test_a_command_is_what_it_would_be_elsewhere_but_in_its_tenant(
    home: Path, tmp_path: Path
) -> None:
    words = "$(reboot); `reboot` *"  # which no shell sees
    program = "import sys; print(open('/proc/self/cgroup').read(), *sys.argv[1:]); sys.exit(7)"
    process = started("exec", tmp_path, "web", "--", sys.executable, "-c", program, words, "-x")
    code, out, err = ended(process)
    assert (code, err) == (7, "")
    assert out.split("\n", 1)[0].endswith(f"/{home.parent.name}/web")
    assert out.split("\n", 1)[1].strip() == f"{words} -x"
    # The very process is the command: what is sent to it, and its pipes, are the command's.
    with started("exec", tmp_path, "web", "cat") as cat:
        assert cat.stdin is not None
        assert cat.stdout is not None
        cat.stdin.write("here\n")
        cat.stdin.flush()
        assert cat.stdout.readline() == "here\n"
        assert members(home) == [cat.pid]
        cat.send_signal(signal.SIGTERM)
        assert cat.wait(20) == -signal.SIGTERM
    assert ended(started("exec", tmp_path, "web", "no-such-command"))[0] == 127
    code, _, err = ended(started("exec", tmp_path, "web", "--group", "background", "true"))
    assert (code, "before the tenant" in err) == (127, True)
    assert ended(started("exec", tmp_path, "web", "/etc/passwd"))[0] == 126


def test_who_is_no_tenant_is_refused_with_a_hint(home: Path, tmp_path: Path) -> None:
    for name, hint in (
        ("wep", "did you mean 'web'?"),
        ("../web", "there is no tenant"),
        ("", "a file"),
    ):
        code, out, err = ended(started("exec", tmp_path, name, "true"))
        assert (code, out) == (1, "")
        assert hint in err
    # A slice is systemd's: it is asked to put a command there, and nothing is divided there.
    (tmp_path / "tenants.d" / "vip.toml").write_text('qos = "gold"\nunit = "vip.slice"\n')
    for option, hint in (("--group=normal", "leave out --group"), ("--", "does it run here?")):
        code, out, err = ended(started("exec", tmp_path, option, "vip", "true"))
        assert (code, out) == (1, "")
        assert hint in err
    home.rmdir()
    code, _, err = ended(started("exec", tmp_path, "web", "true"))
    assert (code, "is the agent running?" in err) == (1, True)


def test_processes_are_moved_and_those_that_cannot_be_are_named(
    home: Path, tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    kernels = next(pid for pid in range(2, 30) if not Path(f"/proc/{pid}/exe").exists())
    gone = subprocess.Popen(["true"])
    gone.wait()
    numbers = [str(sleeper.pid), str(gone.pid), "1", str(kernels)]
    code, _, err = ended(started("attach", tmp_path, "web", *numbers))
    assert code == 1
    assert f"there is no process {gone.pid}" in err
    assert "process 1 cannot be moved" in err
    assert "it is the kernel's own" in err
    assert members(home) == [sleeper.pid]


def test_a_process_is_taken_from_a_service_or_another_tenant_but_not_from_tidegate_itself(
    home: Path, tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    pid, root = str(sleeper.pid), home.parent
    for name in ("acme.service", "other", "tidegate.service"):
        (root / name).mkdir()
        (root / name / "cgroup.procs").write_text(pid)
        code, out, err = ended(started("attach", tmp_path, "web", pid))
        assert (code, out) == (int(name == "tidegate.service"), "")
        assert ("was in acme.service" in err) == (name == "acme.service")
        assert ("is tidegate's own" in err) == (name == "tidegate.service")
        assert members(home) == [] if code else [sleeper.pid]
    assert members(root / "tidegate.service") == [sleeper.pid]


def test_without_permission_to_read_who_is_a_tenant_that_is_said(
    home: Path, tmp_path: Path
) -> None:
    assert home.is_dir()
    tenants = tmp_path / "tenants.d"
    tenants.chmod(0o700)
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o755)
    argv = [str(PROGRAM), "exec", "--config", str(tmp_path / "tidegate.toml"), "web", "true"]
    done = subprocess.run(argv, user=65534, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"Error: {tenants}: Permission denied\n  run this as root (sudo)\n"


def test_a_process_that_ends_as_it_is_moved_is_told(
    home: Path, sleeper: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may be another's by then: only the descriptor knows."""

    def join(*_: object) -> None:
        sleeper.kill()
        sleeper.wait()

    monkeypatch.setattr("enforce.membership._join", join)
    with pytest.raises(MembershipError, match="ended as it was moved"):
        attach(home, sleeper.pid, None)


def test_groups_share_a_tenants_limit_by_weight_and_take_in_who_was_there(
    home: Path, tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    attach(home, sleeper.pid, None)
    (home / "cpu.max").write_text("50000 100000")
    code, out, err = ended(
        started("exec", tmp_path, "--group", "critical", "web", "cat", "/proc/self/cgroup")
    )
    assert (code, err) == (0, "")
    assert out.strip().endswith("/web/critical")
    assert members(home / "normal") == [sleeper.pid], "the kernel allows none beside groups"
    assert members(home) == []
    # A later one without a group is not refused.
    code, out, _ = ended(started("exec", tmp_path, "web", "cat", "/proc/self/cgroup"))
    assert (code, out.strip().endswith("/web/normal")) == (0, True)
    with ExitStack() as stack:
        for name in GROUPS:
            stack.enter_context(living_in(home / name, SPIN))
        before = {name: cpu_used_s(home / name) for name in GROUPS}
        began_s = time.monotonic()
        limit, ratio = pytest.approx(0.5, rel=0.1), pytest.approx(10.0, rel=0.3)
        found: list[tuple[float, float, float]] = []

        def are_shared() -> bool:
            used = {name: cpu_used_s(home / name) - before[name] for name in GROUPS}
            cores, normal = sum(used.values()) / (time.monotonic() - began_s), used["normal"]
            found.append((cores, used["critical"] / normal, used["background"] / normal))
            return cores == limit and found[-1][1] == ratio and found[-1][2] < 1

        # A host that takes the guest's CPU away meanwhile leaves a debt, which is paid over time.
        for _ in range(5):
            time.sleep(MEASURED_S)
            if are_shared():
                break
        else:
            pytest.fail(f"cores, and shares of what is normal: {found}")
    sleeper.kill()
    sleeper.wait()
    wait_until(lambda: "populated 0" in (home / "cgroup.events").read_text())
    assert remove_made_by_us(home.parent) == [(home, None)]
    assert not home.exists()
