"""Asks the running agent over its control socket, and says plainly why that failed."""

import http.client
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from agent.answers import Refusal

TIMEOUT_S: Final = 5.0


class AgentError(Exception):
    """The agent did not answer, or refused; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


class AgentUnreachableError(AgentError):
    """Nobody answers at the socket."""


class AgentRefusedError(AgentError):
    """The agent answered that it cannot or will not say."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket, waiting in line where the agent has many callers.

        A timeout of Python's own would make the socket non-blocking, which the kernel answers
        with EAGAIN at once when the line is full.
        """
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        patience = struct.pack("ll", int(TIMEOUT_S), 0)  # struct timeval
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        self.sock.connect(str(self._path))
        self.sock.settimeout(TIMEOUT_S)


def named(path: str, name: str) -> str:
    """Return the target of what is called `name` at `path`, whatever characters it has."""
    return f"{path}/{quote(os.fsencode(name), safe='')}"


def get(socket_path: Path, target: str) -> bytes:
    """Return the JSON that the agent answers to GET `target`; see `_answered`."""
    return _answered(socket_path, "GET", target, None)


def post(socket_path: Path, target: str, body: bytes) -> bytes:
    """Return the JSON that the agent answers to POST `target` with `body`; see `_answered`."""
    return _answered(socket_path, "POST", target, body)


def _answered(socket_path: Path, method: str, target: str, body: bytes | None) -> bytes:
    """Return the JSON that the agent answers.

    Raises:
        AgentUnreachableError: There is no agent at `socket_path`, or it does not answer in time.
        AgentRefusedError: The agent answered with an error.

    """
    connection = _Connection(socket_path)
    try:
        # The agent refuses some requests before it has read their body, and reads no more of it.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, body)
        response = connection.getresponse()
        answer = response.read()
    except PermissionError as error:
        raise AgentRefusedError(
            f"no permission to ask the agent at {socket_path}", "run this as root (sudo)"
        ) from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise AgentUnreachableError(
            f"the agent is not running: nobody listens at {socket_path}",
            "start it with: systemctl start tidegate",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise AgentUnreachableError(
            f"no answer from the agent at {socket_path}: {str(error) or type(error).__name__}",
            "see: systemctl status tidegate",
        ) from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        refusal = _refusal(answer)
        said = refusal.error or f"the agent answered {response.status}"
        raise AgentRefusedError(said, refusal.hint)
    return answer


def _refusal(body: bytes) -> Refusal:
    """Return what an error answer says, or nothing where it is not one of the agent's."""
    try:
        return msgspec.json.decode(body, type=Refusal)
    except msgspec.DecodeError:
        return Refusal("")
