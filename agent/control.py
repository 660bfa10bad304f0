"""The control socket: HTTP and JSON on a Unix socket, for root only.

Answers are made from the last tick's record, which never changes once it is published, so that
no request can hold up or alter a tick.  What is pushed waits for the end of a step.
"""

import errno
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote

import msgspec
import structlog
from cheroot import wsgi
from cheroot.connections import ConnectionManager
from cheroot.server import HTTPConnection, HTTPRequest

from agent.accuracy import forecast_answer
from agent.answers import Health, Refusal, TenantMetrics
from agent.event_words import events_answer
from agent.explain import explain
from agent.metrics import MetricError
from agent.pinboard import PinBoard
from agent.pinning import PinError, pin, unpin
from agent.quoting import meant, quoted
from agent.record import TickRecord
from agent.status import AgentFacts, health, status
from agent.wording import NO_TENANT

log = structlog.get_logger()

# Whoever has begun to ask keeps a thread until the timeout after each byte; only root can do that.
_THREADS = 4
_QUEUED_CONNECTIONS = 64
_SILENT_CONNECTIONS = 128
_REQUEST_TIMEOUT_S = 2
_SHUTDOWN_TIMEOUT_S = 1
_SHORTAGE_PAUSE_S = 0.1
_MAX_HEADER_BYTES = 16 << 10
_MAX_BODY_BYTES = 1 << 10
_TENANT_PREFIX, _FORECAST_PREFIX = "/v1/tenants/", "/v1/forecasts/"
_METRICS = "metrics"
_POSTED = {
    _METRICS: "a JSON object of numbers",
    "pin": "a JSON object of limits and for_s",
    "unpin": "a JSON object of resources",
}

Answer = tuple[HTTPStatus, msgspec.Struct]
Taker = Callable[[TickRecord, str, bytes], msgspec.Struct]  # of what is posted for a tenant
Push = Callable[[str, Mapping[str, float]], dict[str, float]]  # raises MetricError


class ControlApp:
    """The routes, as a WSGI application."""

    def __init__(
        self,
        record: Callable[[], TickRecord | None],
        facts: Callable[[], AgentFacts] = AgentFacts,
        *,
        push: Push | None = None,
        pins: PinBoard | None = None,
        allowed_uids: Iterable[int] = (0,),
    ) -> None:
        self._record, self._facts = record, facts
        self._takers = {**_pin_takers(pins), **_metrics_taker(push)}
        self._allowed_uids = frozenset(allowed_uids)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> list[bytes]:
        """Answer one request."""
        code, answer = self._answer(environ)
        body = msgspec.json.encode(answer)
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        start_response(f"{code.value} {code.phrase}", headers)
        return [body]

    def _answer(self, environ: dict[str, Any]) -> Answer:
        uid = environ.get("X_REMOTE_UID")  # set by the server from SO_PEERCRED, not by a header
        if uid is None or int(uid) not in self._allowed_uids:
            return HTTPStatus.FORBIDDEN, Refusal("only root may ask")
        # Not PATH_INFO, where an escaped slash stays escaped and UTF-8 is read as Latin-1.
        path = unquote(environ["REQUEST_URI"].partition("?")[0])
        if path.startswith(_TENANT_PREFIX):
            name, slash, rest = path.removeprefix(_TENANT_PREFIX).rpartition("/")
            if slash and rest in _POSTED:  # a tenant may have that very name
                return self._posted(name, rest, environ)
        if environ["REQUEST_METHOD"] != "GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, Refusal("only GET is understood")
        return self._routed(path)

    def _posted(self, name: str, what: str, environ: dict[str, Any]) -> Answer:
        """Take in what was posted for a tenant, in JSON."""
        record = self._record()
        if environ["REQUEST_METHOD"] != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED, Refusal("only POST is understood")
        if record is None or what not in self._takers:
            return HTTPStatus.SERVICE_UNAVAILABLE, Refusal("the agent is starting: no tick yet")
        if name not in record.roster.names:
            return HTTPStatus.NOT_FOUND, _no_tenant(record, name)
        try:
            return HTTPStatus.OK, self._takers[what](record, name, _body(environ))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return HTTPStatus.BAD_REQUEST, Refusal(f"expected {_POSTED[what]}: {error}")
        except (MetricError, PinError) as error:
            hint = error.hint if isinstance(error, PinError) else ""
            return HTTPStatus.BAD_REQUEST, Refusal(str(error), hint)

    def _routed(self, path: str) -> Answer:
        record, facts, now_s = self._record(), self._facts(), time.monotonic()
        if path == "/v1/health":
            return _health_answer(health(record, facts, now_s=now_s))
        if path not in _WHOLE and not path.startswith((_TENANT_PREFIX, _FORECAST_PREFIX)):
            return HTTPStatus.NOT_FOUND, Refusal(f"there is nothing at {quoted(path)}")
        if record is None:
            return HTTPStatus.SERVICE_UNAVAILABLE, Refusal("the agent is starting: no tick yet")
        if path in _WHOLE:
            return HTTPStatus.OK, _WHOLE[path](record, facts, now_s)
        found: msgspec.Struct | None
        if path.startswith(_FORECAST_PREFIX):
            name = path.removeprefix(_FORECAST_PREFIX)
            found = forecast_answer(record, name, horizons_s=facts.horizons_s, now_s=now_s)
        else:
            name = path.removeprefix(_TENANT_PREFIX)
            found = explain(record, name, now_s=now_s)
        if found is None:
            return HTTPStatus.NOT_FOUND, _no_tenant(record, name)
        return HTTPStatus.OK, found


def _no_tenant(record: TickRecord, name: str) -> Refusal:
    hint = meant(name, record.roster.names)
    said = f"there is no tenant {quoted(name)}" + (f" ({hint})" if hint else "")
    return Refusal(said, "" if record.roster.names else NO_TENANT)


def _metrics_taker(push: Push | None) -> dict[str, Taker]:
    if push is None:
        return {}

    def take(_record: TickRecord, name: str, body: bytes) -> msgspec.Struct:
        values = msgspec.json.decode(body, type=dict[str, float])
        return TenantMetrics(name, push(name, values))

    return {_METRICS: take}


def _pin_takers(pins: PinBoard | None) -> dict[str, Taker]:
    return {} if pins is None else {"pin": partial(pin, pins), "unpin": partial(unpin, pins)}


def _body(environ: dict[str, Any]) -> bytes:
    """Return the body of a request: the server lets none through that is too large.

    Raises:
        MetricError: It is not all there: who sent it went away.

    """
    body: bytes = environ["wsgi.input"].read(_MAX_BODY_BYTES + 1)
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if len(body) != length:
        raise MetricError(f"the body ended after {len(body)} of {length} bytes")
    return body


def _status(record: TickRecord, facts: AgentFacts, now_s: float) -> msgspec.Struct:
    return status(record, facts, now_s=now_s)


def _events(record: TickRecord, facts: AgentFacts, _now_s: float) -> msgspec.Struct:
    now_s = datetime.now(UTC).timestamp()
    return events_answer(record.agenda, now_s=now_s, problems=facts.source_problems)


# What is answered of the whole host, once there is a record.
_WHOLE: Mapping[str, Callable[[TickRecord, AgentFacts, float], msgspec.Struct]] = {
    "/v1/status": _status,
    "/v1/events": _events,
}


def _health_answer(found: Health) -> Answer:
    code = HTTPStatus.OK if found.state == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
    return code, found


class _Request(HTTPRequest):
    """A request that says in digits how long its body is, if it has any."""

    def read_request_headers(self) -> bool:
        """Read the headers; where the request is refused for them, say why and return False."""
        if not super().read_request_headers():  # type: ignore[no-untyped-call]
            return False
        if b"Transfer-Encoding" in self.inheaders:
            self.simple_response("411 Length Required", "expected a Content-Length, not chunked")
            return False
        if not self.inheaders.get(b"Content-Length", b"0").isdigit():
            self.simple_response("400 Bad Request", "expected a Content-Length of digits")
            return False
        return True


class _Connection(HTTPConnection):
    """A connection whose descriptor is free as soon as it is closed."""

    RequestHandlerClass = _Request

    def close(self) -> None:
        """Close what writes too: cheroot leaves it, and with it the socket, to the collector.

        Nor is there a need to linger: what was written to a Unix socket can be read when the
        writer has gone.
        """
        self.linger = False
        super().close()
        with suppress(OSError):  # what it still held has nowhere to go
            self.wfile.close()


class _UnixServer(wsgi.Server):
    """Cheroot on a socket that only its owner may connect to."""

    _connections: ConnectionManager  # cheroot's own, which its types leave out
    ConnectionClass = _Connection
    max_request_header_size = _MAX_HEADER_BYTES
    max_request_body_size = _MAX_BODY_BYTES
    _is_short_of_descriptors = False

    def bind_unix_socket(self, bind_addr: str) -> None:
        """Bind in place of a dead agent's socket; the mode is set before anyone can connect."""
        Path(bind_addr).unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        os.fchmod(self.socket.fileno(), 0o600)
        self.socket.bind(bind_addr)

    def process_conn(self, conn: HTTPConnection) -> None:
        """Give a connection to a thread once it has said something; who is silent costs none.

        The silent are closed after the timeout, and at once where they are too many.
        """
        self._is_short_of_descriptors = False
        if _has_spoken(conn):
            super().process_conn(conn)
        elif self._connections.can_add_keepalive_connection:
            self._connections.put(conn)
        else:
            conn.close()

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """Log what went wrong with a request.

        Whoever waits to be accepted while no descriptor is left makes cheroot try again at once:
        that is said once, and waited for a little.
        """
        error = sys.exception()
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            if not self._is_short_of_descriptors:
                log.warning("too few descriptors to answer", problem=str(error))
            self._is_short_of_descriptors = True
            time.sleep(_SHORTAGE_PAUSE_S)  # noqa: TID251 - in the thread that accepts, no tick
            return
        log.warning("control request failed", problem=msg, exc_info=traceback)


def _has_spoken(conn: HTTPConnection) -> bool:
    """Say whether reading would not wait: there is a byte, or the other end has gone."""
    poll = select.poll()  # which knows descriptors of any number
    poll.register(conn.socket, select.POLLIN)
    return conn.rfile.has_data() or bool(poll.poll(0))


class ControlServer:
    """Serves `ControlApp` from threads of its own while the context is open.

    Whoever opens it holds the agent's lock (`agent.sole`): a socket that is found at `path`
    belongs to an agent that is dead.
    """

    def __init__(
        self,
        path: Path,
        record: Callable[[], TickRecord | None],
        facts: Callable[[], AgentFacts] = AgentFacts,
        *,
        push: Push | None = None,
        pins: PinBoard | None = None,
    ) -> None:
        self._path = path
        self._server = _UnixServer(
            str(path),
            ControlApp(record, facts, push=push, pins=pins, allowed_uids=(0, os.geteuid())),
            numthreads=_THREADS,
            max=_THREADS,
            request_queue_size=_QUEUED_CONNECTIONS,
            timeout=_REQUEST_TIMEOUT_S,
            shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
            accepted_queue_size=_QUEUED_CONNECTIONS,
            accepted_queue_timeout=0,
            peercreds_enabled=True,
        )
        self._server.keep_alive_conn_limit = _SILENT_CONNECTIONS
        self._thread = threading.Thread(target=self._server.serve, name="control", daemon=True)

    def __enter__(self) -> "ControlServer":
        """Start to answer.

        Raises:
            OSError: The socket cannot be made.

        """
        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._server.prepare()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop to answer; what is being answered now may end, for a second."""
        self._server.stop()
        self._thread.join(_SHUTDOWN_TIMEOUT_S)
        self._path.unlink(missing_ok=True)
