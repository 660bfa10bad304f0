"""The agent as a service: start, reload, crash, hang, stop, release."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tenants import SPIN, living_in, wait_until

from agent.client import AgentError, get
from agent.paths import RUNTIME_DIR, SOCKET_NAME

pytestmark = pytest.mark.e2e
UNIT = "tidegate.service"
ETC = Path("/etc/tidegate")
ROOT = Path("/sys/fs/cgroup/tidegate.slice/tidegate-tenants.service")
SHOP, BATCH = ROOT / "shop", ROOT / "batch"
FILES = ("cpu.max", "cpu.weight", "memory.high", "memory.low")
LEARNING_S = 3
TICK_S = 0.5
# Less than the guest's only CPU, so that a busy tenant leaves the tests some.
HOST = f"""
[host]
cpu_capacity_cores = 0.5
memory_capacity_bytes = "1G"
[periods]
tick_s = {TICK_S}
step_s = 1
horizon_s = 5
refit_s = 10
learning_s = {LEARNING_S}
[modes]
cpu = "strict"
"""
SHOP_FILE = 'qos = "platinum"\n[cpu]\nfloor_cores = 0.15\n[memory]\nfloor_bytes = "64M"\n'
BATCH_FILE = 'qos = "silver"\n[cpu]\nfloor_cores = 0.05\nceiling_cores = {ceiling}\n'


def systemctl(*arguments: str) -> None:
    subprocess.run(["systemctl", *arguments], check=True, timeout=60)


def shown(name: str) -> str:
    """Return one property of the unit."""
    show = ["systemctl", "show", "--property", name, "--value", UNIT]
    return subprocess.run(show, check=True, capture_output=True, text=True).stdout.strip()


def journal() -> str:
    """Return what the unit has said."""
    argv = ["journalctl", "--no-pager", "--output=cat", "--unit", UNIT]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def tidegate(*arguments: str) -> Any:
    """Return what the installed command answers as JSON."""
    argv = ["tidegate", *arguments, "--json"]
    return json.loads(subprocess.run(argv, check=False, capture_output=True, text=True).stdout)


def configure(ceiling: str) -> None:
    (ETC / "tidegate.toml").write_text(HOST)
    (ETC / "tenants.d/shop.toml").write_text(SHOP_FILE)
    (ETC / "tenants.d/batch.toml").write_text(BATCH_FILE.format(ceiling=ceiling))


def limits() -> dict[str, str]:
    """Return every limit of both tenants, as the kernel tells it."""
    return {
        f"{cgroup.name}/{file}": (cgroup / file).read_text().strip()
        for cgroup in (SHOP, BATCH)
        for file in FILES
    }


def quota_cores(cgroup: Path) -> float:
    quota, period = (cgroup / "cpu.max").read_text().split()
    return float("inf") if quota == "max" else int(quota) / int(period)


def is_settled() -> bool:
    """Say whether the agent has learned, so that limits follow demand."""
    return not json.loads(get(RUNTIME_DIR / SOCKET_NAME, "/v1/status"))["host"]["is_learning"]


def told_of_host() -> dict[str, Any] | None:
    """Return what the agent tells of the host; None while none runs."""
    try:
        host: dict[str, Any] = json.loads(get(RUNTIME_DIR / SOCKET_NAME, "/v1/status"))["host"]
    except AgentError:
        return None
    return host


def stands_still() -> bool:
    """Say whether a few ticks leave the busy tenant's limit where it is."""
    before = quota_cores(BATCH)
    time.sleep(3 * TICK_S)
    return quota_cores(BATCH) == before


@pytest.fixture(scope="module")
def tenants(installed: Path) -> Iterator[None]:
    """Two tenants, of which one wants all it can get; afterwards all that was done is undone."""
    assert installed.is_dir()
    configure(ceiling="0.4")
    systemctl("start", UNIT)
    with living_in(BATCH, SPIN):
        yield
    systemctl("stop", UNIT)
    tidegate("release")
    systemctl("reset-failed")


@pytest.fixture
def service(tenants: None) -> None:
    """The service running, past its learning, with the batch tenant held at less than the host."""
    configure(ceiling="0.4")
    systemctl("start", UNIT)
    wait_until(lambda: is_settled() and quota_cores(BATCH) < 0.4, limit_s=100, pause_s=0.2)


@pytest.mark.usefixtures("service")
def test_a_started_service_enforces_and_says_so() -> None:
    assert shown("ActiveState") == "active"
    assert shown("StatusText") == "enforcing 2 tenants"
    answer = tidegate("status")
    assert [tenant["name"] for tenant in answer["tenants"]] == ["batch", "shop"]
    assert answer["host"]["failed_ticks"] == 0
    assert answer["host"]["problems"] == []
    assert quota_cores(SHOP) + quota_cores(BATCH) <= 0.5
    assert quota_cores(SHOP) >= 0.15


@pytest.mark.usefixtures("service")
def test_memory_low_is_effective_through_every_ancestor() -> None:
    floor_bytes = 64 << 20

    def lows() -> list[int]:
        return [int((level / "memory.low").read_text()) for level in (ROOT.parent, ROOT, SHOP)]

    wait_until(lambda: min(lows()) >= floor_bytes)
    assert lows()[2] == floor_bytes


@pytest.mark.usefixtures("service")
def test_when_memory_runs_out_the_forecaster_goes_first_and_alone() -> None:
    agent = shown("MainPID")
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (agent, *children)]
    assert scores[0] == -900
    assert scores[1:] == [900]
    assert shown("OOMPolicy") == "continue"


@pytest.mark.usefixtures("service")
def test_a_valid_change_is_taken_on_without_a_restart() -> None:
    pid = shown("MainPID")
    configure(ceiling="0.1")
    systemctl("reload", UNIT)
    wait_until(lambda: quota_cores(BATCH) <= 0.1)
    assert shown("MainPID") == pid
    assert shown("StatusText") == "enforcing 2 tenants"


@pytest.mark.usefixtures("service")
def test_a_faulty_change_leaves_the_old_configuration_and_says_so() -> None:
    pid, before = shown("MainPID"), quota_cores(BATCH)
    configure(ceiling="'plenty'")
    with pytest.raises(subprocess.CalledProcessError):
        systemctl("reload", UNIT)
    wait_until(lambda: "Error: reload refused" in journal())  # where systemctl sends the reader
    assert shown("ActiveState") == "active"
    wait_until(lambda: "reload refused" in shown("StatusText"))
    assert "cpu.ceiling_cores" in shown("StatusText")
    assert shown("MainPID") == pid
    assert quota_cores(BATCH) == pytest.approx(before, rel=0.1)
    configure(ceiling="0.4")
    systemctl("reload", UNIT)
    assert shown("StatusText") == "enforcing 2 tenants"
    wait_until(lambda: quota_cores(BATCH) > 0.1)  # the ceiling of the configuration before


@pytest.mark.usefixtures("service")
def test_killed_and_restarted_no_limit_jumps() -> None:
    wait_until(stands_still, limit_s=40)
    systemctl("kill", "--signal=KILL", "--kill-who=main", UNIT)
    before, learning_ticks = limits(), [0]
    seen: list[tuple[dict[str, str], int]] = []  # each with the last tick that it may be of

    def has_learned_again() -> bool:
        now, host = limits(), told_of_host()
        if host is not None and not host["is_learning"]:
            return True
        if host is not None:
            learning_ticks.append(host["tick"])
        if host is not None or learning_ticks == [0]:
            seen.append((now, learning_ticks[-1] + 1))
        return False

    wait_until(has_learned_again, limit_s=60, pause_s=0.05)
    while_learning = [now for now, tick in seen if tick <= max(learning_ticks)]
    assert while_learning
    assert [change for change in while_learning if change != before] == []
    assert (shown("NRestarts"), shown("ActiveState")) == ("1", "active")
    wait_until(is_settled, limit_s=40, pause_s=0.5)
    assert quota_cores(BATCH) == pytest.approx(
        int(before["batch/cpu.max"].split()[0]) / 1e5, rel=0.1
    )


@pytest.mark.usefixtures("service")
def test_a_hung_agent_is_restarted_by_the_watchdog(tmp_path: Path) -> None:
    drop_in = Path(f"/run/systemd/system/{UNIT}.d/watchdog.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nWatchdogSec=5\n")
    systemctl("daemon-reload")
    systemctl("restart", UNIT)
    pid = shown("MainPID")
    try:
        systemctl("kill", "--signal=STOP", "--kill-who=main", UNIT)
        wait_until(lambda: shown("NRestarts") != "0", limit_s=40, pause_s=0.5)
        wait_until(lambda: shown("ActiveState") == "active", limit_s=40, pause_s=0.5)
        assert shown("MainPID") != pid
    finally:
        drop_in.unlink()
        systemctl("daemon-reload")


@pytest.mark.usefixtures("service")
def test_a_stop_leaves_tenants_and_limits() -> None:
    systemctl("stop", UNIT)
    before = limits()
    assert quota_cores(BATCH) < 0.4
    assert len((BATCH / "cgroup.procs").read_text().split()) == 1
    time.sleep(1)
    assert limits() == before
    systemctl("restart", "tidegate-tenants.service")
    assert {file: (BATCH / file).read_text().strip() for file in FILES} == {
        file: before[f"batch/{file}"] for file in FILES
    }


@pytest.mark.usefixtures("tenants")
def test_a_faulty_configuration_stops_the_start_naming_every_fault() -> None:
    systemctl("stop", UNIT)
    configure(ceiling="-1")
    (ETC / "tidegate.toml").write_text("[host]\nobserved = true\n")
    try:
        with pytest.raises(subprocess.CalledProcessError):
            systemctl("start", UNIT)
        # What a process said last may reach the journal after systemctl has told of its end.
        wait_until(lambda: "batch.toml: cpu.ceiling_cores: expected" in journal())
        assert "tidegate.toml: host.observed: unknown setting" in journal()
    finally:
        configure(ceiling="0.4")
        systemctl("stop", UNIT)
        systemctl("reset-failed")


@pytest.mark.usefixtures("service")
def test_release_puts_back_what_was_there_before() -> None:
    systemctl("stop", UNIT)
    tidegate("release")
    assert (BATCH / "cpu.max").read_text().split()[0] == "max"
    assert (BATCH / "memory.high").read_text().strip() == "max"
    assert (BATCH / "cpu.weight").read_text().strip() == "100"
    assert not SHOP.exists()
    assert (ROOT / "memory.low").read_text().strip() == "0"
