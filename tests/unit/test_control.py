"""The control socket, served by the real server and asked over the real socket."""

import gc
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from children import wait_until
from click.testing import CliRunner
from records import crowd, record, with_quality, with_rates
from scarcity import few_descriptors
from structlog.testing import capture_logs

from agent.answers import Explanation, HorizonBounds, Status, TenantForecast, TenantPins
from agent.cli import main
from agent.client import AgentRefusedError, AgentUnreachableError, get, named, post
from agent.control import ControlApp, ControlServer
from agent.pinboard import PinBoard
from agent.pins import Origin, Pin
from agent.record import TickRecord
from agent.status import AgentFacts
from agent.tenant import Roster
from enforce.columns import Control


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the agent answers."""
    return tmp_path / "run" / "control.sock"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Serve the standard record."""
    path = tmp_path_factory.mktemp("served") / "run" / "control.sock"
    with ControlServer(path, record):
        yield path


def test_status_is_answered(served: Path) -> None:
    answer = msgspec.json.decode(get(served, "/v1/status"), type=Status)
    assert [tenant.name for tenant in answer.tenants] == ["batch", "eater", "ghost", "hog", "web"]


def test_an_explanation_is_answered(served: Path) -> None:
    answer = msgspec.json.decode(get(served, "/v1/tenants/hog"), type=Explanation)
    assert answer.tenant.name == "hog"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/v1/tenants/nobody", "there is no tenant 'nobody'"),
        ("/v1/tenants/", "there is no tenant ''"),
        ("/v1/tenants/wbe", r"there is no tenant 'wbe' \(did you mean 'web'\?\)"),
        ("/v1/forecasts/wbe", r"there is no tenant 'wbe' \(did you mean 'web'\?\)"),
        ("/v1/tenants/..%2F..%2Fetc", r"there is no tenant '\.\./\.\./etc'"),
        ("/", "there is nothing at '/'"),
        ("/v2/status", "there is nothing at '/v2/status'"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_reason(
    served: Path, target: str, reason: str
) -> None:
    with pytest.raises(AgentRefusedError, match=reason):
        get(served, target)


def test_a_forecast_is_answered_with_all_that_is_to_be_known_of_it(path: Path) -> None:
    def facts() -> AgentFacts:
        return AgentFacts(horizons_s=(300.0, 600.0, 900.0))

    with ControlServer(path, lambda: with_quality(with_rates(record())), facts):
        found = msgspec.json.decode(get(path, named("/v1/forecasts", "web")), type=TenantForecast)
        with pytest.raises(AgentRefusedError, match="there is no tenant 'nobody'"):
            get(path, named("/v1/forecasts", "nobody"))
    assert (found.tenant, found.qos, found.forecaster) == ("web", "platinum", "live")
    assert found.made_s_ago is not None
    assert found.made_s_ago > 12
    cpu, memory, disk, net = found.resources
    assert (cpu.resource, cpu.unit, cpu.source, cpu.expected) == ("cpu", "cores", "live", 0.7)
    assert (memory.unit, disk.resource, disk.unit) == ("bytes", "disk_read:sda", "bytes/s")
    assert [one.horizon_s for one in cpu.horizons] == [300, 600, 900]
    assert cpu.horizons[2] == HorizonBounds(900.0, 1.05, 1.05, 1.05)
    assert list(cpu.experts.items()) == [("short", 75), ("long", 25)]
    assert cpu.quality is not None
    assert cpu.quality.coverage_95_pct == 95.0
    assert net.expected is None


def test_before_the_first_tick_the_agent_says_that_it_starts(path: Path) -> None:
    with ControlServer(path, lambda: None):
        for target, reason in (("/v1/status", "no tick yet"), ("/v1/health", "answered 503")):
            with pytest.raises(AgentRefusedError, match=reason):
                get(path, target)


def test_only_the_owner_may_connect(served: Path) -> None:
    assert stat.S_IMODE(served.stat().st_mode) == 0o600


def test_a_dead_agents_socket_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(AgentUnreachableError, match="not running"):
        get(path, "/v1/status")
    with ControlServer(path, record):
        assert get(path, "/v1/status")
    assert not path.exists()


def test_each_answer_is_of_the_newest_record(path: Path) -> None:
    records: list[TickRecord] = [crowd(1)]
    with ControlServer(path, lambda: records[-1]):
        assert b"tenant-00001" not in get(path, "/v1/status")
        records.append(crowd(2))
        assert b"tenant-00001" in get(path, "/v1/status")


def test_silent_and_broken_clients_do_not_keep_others_from_their_answer(served: Path) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(6)]
    try:
        for client in silent:
            client.connect(str(served))
        silent[0].sendall(b"\x00\xff garbage\r\n\r\n")
        silent[1].sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        silent[1].close()
        assert get(served, "/v1/status")
    finally:
        for client in silent:
            client.close()
        assert get(served, "/v1/status")  # the line is empty again


def test_clients_who_say_nothing_cost_others_no_time(served: Path) -> None:
    """Each of them would hold one of four threads for two seconds."""
    silent = [socket.socket(socket.AF_UNIX) for _ in range(100)]
    try:
        for client in silent:
            client.connect(str(served))
        for _ in range(3):
            assert get(served, "/v1/status")  # which gives up after five
    finally:
        _hang_up(served, silent)


def test_clients_who_say_nothing_are_let_go(served: Path) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    gc.disable()  # which would free what was only forgotten
    try:
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(str(served))
                assert client.recv(1) == b""
        wait_until(
            lambda: len([*Path("/proc/self/fd").iterdir()]) <= before, "descriptors are free"
        )
    finally:
        gc.enable()


def test_more_silent_clients_than_are_held_are_let_go_at_once_and_speakers_served(
    served: Path,
) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(300)]
    try:
        for client in silent:
            client.connect(str(served))
        wait_until(lambda: _is_answered(served), "somebody who speaks is answered")
    finally:
        _hang_up(served, silent)


def _hang_up(path: Path, clients: list[socket.socket]) -> None:
    """Close all, and wait until they have left the line: the next in it may be refused before."""
    for client in clients:
        client.close()
    answers = [False] * 8

    def is_free() -> bool:
        answers[:] = [*answers[1:], _is_answered(path)]
        return all(answers)

    wait_until(is_free, "the line is empty again")


def _is_answered(path: Path) -> bool:
    try:
        return bool(get(path, "/v1/status"))
    except (AgentUnreachableError, AgentRefusedError):
        return False


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (17 << 10) + b"\r\n\r\n",
        b"POST /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n",
        b"NONSENSE\r\n\r\n",
    ],
)
def test_a_bad_request_is_answered_with_a_client_error(served: Path, request_head: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(served))
        client.sendall(request_head)
        assert client.recv(12).startswith(b"HTTP/1.1 4")


def test_a_failing_answer_does_not_end_the_server(path: Path) -> None:
    answers: list[Any] = [None, record()]

    def failing() -> TickRecord | None:
        if answers[0] is None:
            answers[0] = True
            raise RuntimeError("a bug")
        return record()

    with ControlServer(path, failing):
        with pytest.raises(AgentRefusedError, match="answered 500"):
            get(path, "/v1/status")
        assert get(path, "/v1/status")


def test_who_waits_while_no_descriptor_is_left_costs_little_and_is_answered_later(
    path: Path,
) -> None:
    with capture_logs() as logs, ControlServer(path, record):
        assert get(path, "/v1/status")
        gc.collect()  # what earlier connections held must not come free just then
        time.sleep(3.0)  # longer than a silent connection is held
        with socket.socket(socket.AF_UNIX) as client, few_descriptors(left=0):
            client.connect(str(path))
            client.settimeout(5.0)
            client.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
            before_s, began_s = time.process_time(), time.monotonic()
            time.sleep(0.5)
            taken_s = time.process_time() - before_s
            assert taken_s < 0.5 * (time.monotonic() - began_s)
        assert get(path, "/v1/status")
    assert [log["event"] for log in logs] == ["too few descriptors to answer"]


def test_stopping_is_prompt_and_leaves_no_thread(path: Path) -> None:
    before = set(threading.enumerate())
    with ControlServer(path, record):
        assert get(path, "/v1/status")
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 5.0
    assert [thread for thread in set(threading.enumerate()) - before if thread.is_alive()] == []


@pytest.mark.parametrize(
    ("uid", "code"), [("0", "200 OK"), (None, "403 Forbidden"), ("1000", "403 Forbidden")]
)
def test_who_is_not_root_gets_no_answer(uid: str | None, code: str) -> None:
    said: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "REQUEST_URI": "/v1/status", "HTTP_X_REMOTE_UID": "0"}
    if uid is not None:
        environ["X_REMOTE_UID"] = uid
    ControlApp(record)(environ, lambda status, headers: said.append(status))
    assert said == [code]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else_is_not_let_in_even_where_the_mode_allows_it(served: Path) -> None:
    served.chmod(0o666)
    for folder in (served.parent, *served.parent.parents[:-1]):
        if folder.stat().st_uid == 0 and folder.name != "tmp":
            folder.chmod(folder.stat().st_mode | 0o055)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            get(served, "/v1/status")
        except BaseException as error:  # noqa: BLE001 - whatever it is, no test goes on here
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert os.read(reader, 100) == b"only root may ask"
    os.close(reader)


@pytest.fixture
def pinned(path: Path, tmp_path: Path) -> Iterator[PinBoard]:
    """Serve the standard record, and take in pins."""
    board = PinBoard(tmp_path / "pins.db", unix_now_s=lambda: 1e9)
    with ControlServer(path, record, pins=board):
        yield board
    board.close()


def test_a_pin_is_taken_in_said_back_and_ended(path: Path, pinned: PinBoard) -> None:
    body = b'{"limits": {"cpu": 1.5, "memory": 536870912}, "for_s": 60}'
    answer = msgspec.json.decode(post(path, "/v1/tenants/web/pin", body), type=TenantPins)
    said = [(one.control, one.value, one.set_by) for one in answer.pins]
    assert said == [
        ("cpu.max", "150000 100000", "operator"),
        ("memory.high", "536870912", "operator"),
    ]
    assert all(50 < one.left_s <= 60 for one in answer.pins)
    assert {one.control for one in pinned.of("web")} == {Control.CPU_MAX, Control.MEMORY_HIGH}
    post(path, "/v1/tenants/web/unpin", b'{"resources": ["cpu"]}')
    assert {one.control for one in pinned.of("web")} == {Control.MEMORY_HIGH}
    answer = msgspec.json.decode(post(path, "/v1/tenants/web/unpin", b""), type=TenantPins)
    assert answer.pins == ()
    assert pinned.of("web") == ()


@pytest.mark.parametrize("control", Control)
def test_whatever_file_is_pinned_unpin_ends_it(
    path: Path, pinned: PinBoard, control: Control
) -> None:
    pinned.put([Pin("web", control, 7.0, time.monotonic() + 60.0, Origin.ANOTHER, 15)])
    resource = control.partition(".")[0]
    body = f'{{"resources": ["{resource}"]}}'.encode()
    answer = msgspec.json.decode(post(path, "/v1/tenants/web/unpin", body), type=TenantPins)
    assert answer.pins == ()
    assert pinned.of("web") == ()


@pytest.mark.parametrize(
    ("target", "body", "reason"),
    [
        ("nobody/pin", b"{}", "there is no tenant 'nobody'"),
        ("web/pin", b"", "expected a JSON object of limits and for_s"),
        ("web/pin", b'{"limits": {"cpu": 1}, "for_s": 60, "x": 1}', "expected a JSON object"),
        ("web/pin", b'{"limits": {"cpu": "1"}, "for_s": 60}', "expected a JSON object"),
        ("web/pin", b'{"limits": {}, "for_s": 60}', "at least one of cpu and memory"),
        ("web/pin", b'{"limits": {"disk": 1}, "for_s": 60}', "cpu or memory, got 'disk'"),
        ("web/pin", b'{"limits": {"cpu": 1}, "for_s": 0}', "a time above 0"),
        ("web/pin", b'{"limits": {"cpu": 1}, "for_s": 1e12}', "at most ten years"),
        ("web/pin", b'{"limits": {"cpu": 0.01}, "for_s": 60}', "its floor"),
        ("web/pin", b'{"limits": {"cpu": -1}, "for_s": 60}', "its floor"),
        ("web/pin", b'{"limits": {"cpu": 1e300}, "for_s": 60}', "got"),
        ("web/pin", b'{"limits": {"memory": 4096}, "for_s": 60}', "its floor"),
        ("web/unpin", b"{}", "nothing of web is pinned"),
        ("web/unpin", b'{"resources": ["x"]}', "disk or network, got 'x'"),
    ],
)
def test_what_is_no_pin_of_a_tenant_is_refused_with_the_reason(
    path: Path, pinned: PinBoard, target: str, body: bytes, reason: str
) -> None:
    with pytest.raises(AgentRefusedError, match=reason):
        post(path, f"/v1/tenants/{target}", body)
    assert pinned.of("web") == ()


def test_where_no_tenant_is_configured_the_refusal_says_what_to_do(path: Path) -> None:
    with (
        ControlServer(path, lambda: replace(record(), roster=Roster.of([]))),
        pytest.raises(AgentRefusedError, match="there is no tenant 'web'") as refused,
    ):
        get(path, "/v1/tenants/web")
    assert "NAME.toml.example" in refused.value.hint


@pytest.mark.parametrize(
    "asked", [b'"cpu": 0.123', b'"cpu": 77.7', b'"memory": 1', b'"memory": 1e15']
)
def test_what_is_out_of_range_is_refused_with_a_call_that_is_not(
    path: Path, pinned: PinBoard, asked: bytes
) -> None:
    with pytest.raises(AgentRefusedError) as refused:
        post(path, "/v1/tenants/web/pin", b'{"limits": {%s}, "for_s": 60}' % asked)
    call = refused.value.hint.removeprefix("such as: tidegate ").split()
    assert CliRunner().invoke(main, [*call, "--socket", str(path)]).exit_code == 0
    assert len(pinned.of("web")) == 1


def test_no_limit_of_a_tenant_that_is_only_observed_is_pinned(path: Path, tmp_path: Path) -> None:
    board = PinBoard(tmp_path / "pins.db", unix_now_s=lambda: 1e9)
    with (
        ControlServer(path, lambda: replace(record(), is_observing=True), pins=board),
        pytest.raises(AgentRefusedError, match="only observed"),
    ):
        post(path, "/v1/tenants/web/pin", b'{"limits": {"cpu": 1}, "for_s": 60}')
    board.close()
