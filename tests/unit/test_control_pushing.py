"""Metrics that are pushed to the control socket: taken in whole, or refused with the reason."""

import io
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from records import record
from structlog.testing import capture_logs

from agent.answers import TenantMetrics
from agent.client import AgentRefusedError, get, post
from agent.control import ControlApp, ControlServer
from agent.pushed import PushedMetrics


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the agent answers."""
    return tmp_path / "run" / "control.sock"


@pytest.fixture
def pushed(path: Path) -> Iterator[PushedMetrics]:
    """Serve the standard record, and take in metrics."""
    metrics = PushedMetrics()
    with ControlServer(path, record, push=metrics.push):
        yield metrics


def test_metrics_are_taken_in_and_said_back(path: Path, pushed: PushedMetrics) -> None:
    answer = post(path, "/v1/tenants/web/metrics", b'{"queue_depth": 42, "rps": 1.5e3}')
    held = {"queue_depth": 42.0, "rps": 1500.0}
    assert msgspec.json.decode(answer, type=TenantMetrics) == TenantMetrics("web", held)
    pushed.ask()
    assert pushed.found() == {"web": held}


@pytest.mark.parametrize(
    ("target", "body", "reason"),
    [
        ("nobody/metrics", b"{}", "there is no tenant 'nobody'"),
        ("..%2Fweb/metrics", b"{}", r"there is no tenant '\.\./web'"),
        ("web/metrics", b"", "expected a JSON object of numbers"),
        ("web/metrics", b"[1]", "expected a JSON object of numbers"),
        ("web/metrics", b'{"a": "1"}', "expected a JSON object of numbers"),
        ("web/metrics", b'{"a": NaN}', "expected a JSON object of numbers"),
        ("web/metrics", b'{"a": 1e999}', "expected"),
        ("web/metrics", b'{"a": 1e16}', "a: expected a number between -1e15 and 1e15"),
        ("web/metrics", b'{"A": 1}', "expected a name of a-z"),
        ("web/metrics", b'{"\xff": 1}', "expected a JSON object of numbers"),
        ("web/metrics", b"[" * 1000, "expected a JSON object of numbers"),
        ("web/metrics", b'{"a": 1}' + b" " * 2000, "answered 413"),
        ("web/metrics", b" " * (1 << 22), "answered 413"),  # more than anyone waits to be sent
        (
            "web/metrics",
            b"{" + b",".join(b'"m%d": 1' % place for place in range(9)) + b"}",
            "expected at most 8 metrics, got 9",
        ),
    ],
)
def test_what_is_no_metric_of_a_tenant_is_refused_with_the_reason(
    path: Path, pushed: PushedMetrics, target: str, body: bytes, reason: str
) -> None:
    with pytest.raises(AgentRefusedError, match=reason):
        post(path, f"/v1/tenants/{target}", body)
    pushed.ask()
    assert pushed.found() == {}


PUSH = b"POST /v1/tenants/web/metrics HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("rest", "code", "reason"),
    [
        (b'Content-Length: -5\r\n\r\n{"a": 1}', "400", "Content-Length"),
        (b'Content-Length: +8\r\n\r\n{"a": 1}', "400", "Content-Length"),
        (b'Content-Length: 0_8\r\n\r\n{"a": 1}', "400", "Content-Length"),
        (b'Content-Length: eight\r\n\r\n{"a": 1}', "400", "Content-Length"),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", "400", "Content-Length"),
        (b'Transfer-Encoding: chunked\r\n\r\n8\r\n{"a": 1}\r\n0\r\n\r\n', "411", "chunked"),
        (b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", "411", "chunked"),
        (b'Content-Length: 20\r\n\r\n{"a": 1}', "400", "8 of 20 bytes"),
        (b"Content-Length: 20\r\n\r\n", "400", "0 of 20 bytes"),
    ],
)
def test_a_body_of_no_clear_length_is_refused_with_a_line_and_without_a_trace(
    path: Path, pushed: PushedMetrics, rest: bytes, code: str, reason: str
) -> None:
    with capture_logs() as logs, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(PUSH + rest)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(4096), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {code} ")
    assert reason in body
    assert "\n" not in body.strip()
    assert logs == []
    pushed.ask()
    assert pushed.found() == {}


def test_who_stops_in_the_middle_of_a_body_is_let_go(path: Path, pushed: PushedMetrics) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(PUSH + b'Content-Length: 20\r\n\r\n{"a": 1}')
        assert client.recv(4096).startswith(b"HTTP/1.1 4")
    pushed.ask()
    assert pushed.found() == {}


def test_a_tenant_may_be_called_metrics(path: Path, pushed: PushedMetrics) -> None:
    with pytest.raises(AgentRefusedError, match="there is no tenant 'metrics'"):
        get(path, "/v1/tenants/metrics")
    with pytest.raises(AgentRefusedError, match="only GET is understood"):
        post(path, "/v1/tenants/metrics", b"{}")
    with pytest.raises(AgentRefusedError, match="there is no tenant 'metrics'"):
        post(path, "/v1/tenants/metrics/metrics", b"{}")


def test_metrics_are_only_posted_and_nothing_else_is(path: Path, pushed: PushedMetrics) -> None:
    with pytest.raises(AgentRefusedError, match="only POST is understood"):
        get(path, "/v1/tenants/web/metrics")
    for target in ("/v1/status", "/v1/tenants/web"):
        with pytest.raises(AgentRefusedError, match="only GET is understood"):
            post(path, target, b"{}")


def test_who_may_not_ask_may_not_report_either() -> None:
    metrics = PushedMetrics()
    app = ControlApp(record, push=metrics.push)
    said: list[str] = []
    body = io.BytesIO(b'{"queue": 1}')
    app(
        {
            "X_REMOTE_UID": "1000",
            "REQUEST_METHOD": "POST",
            "REQUEST_URI": "/v1/tenants/web/metrics",
            "wsgi.input": body,
        },
        lambda code, _: said.append(code),
    )
    assert said == ["403 Forbidden"]
    metrics.ask()
    assert metrics.found() == {}
