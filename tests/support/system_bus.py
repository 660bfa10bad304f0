"""A system bus with a systemd on it that tests can hold up, and that writes plain files."""

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from jeepney import Message, MessageType, Parser, new_error, new_method_return
from jeepney.io.blocking import open_dbus_connection

FILES = {
    "CPUQuotaPerSecUSec": "cpu.max",
    "CPUWeight": "cpu.weight",
    "MemoryHigh": "memory.high",
    "MemoryLow": "memory.low",
}
UNSET = (1 << 64) - 1
_PATIENCE_S = 60.0  # with this one, whom a busy machine may hold up
_PERIOD_US = 100_000


class Systemd:
    """What is asked of systemd: `calls`, each a unit and its properties, in the order of answers.

    It answers once `may_answer` is set, first calls `before` with the properties, and refuses what
    that raises ValueError of.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.may_answer, self.asked = threading.Event(), queue.SimpleQueue[str]()
        self.may_answer.set()
        self.calls: list[tuple[str, dict[str, int]]] = []
        self.untouched: set[str] = set()  # properties that it takes, and writes no file of
        self.before: Callable[[dict[str, int]], None] = lambda _: None
        self._socket = socket.socket(socket.AF_UNIX)
        self.address = folder / "bus"
        self._socket.bind(str(self.address))
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.may_answer.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._socket.accept()
                threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        with peer, suppress(OSError):  # who asks may have gone
            _authenticated(peer)
            parser = Parser()
            while data := peer.recv(65_536):
                for message in parser.feed(data):
                    peer.sendall(self._answer(message).serialise(serial=7))

    def _answer(self, message: Message) -> Message:
        if message.body and len(message.body) == 3:
            unit, _, properties = message.body
            values = {name: value for name, (_, value) in properties}
            self.asked.put(unit)
            self.may_answer.wait()
            try:
                self.before(values)
            except ValueError as error:
                return new_error(message, "org.example.Refused", "s", (str(error),))
            self.calls.append((unit, values))
            for name, value in values.items():
                if name in self.untouched:
                    continue
                _put(self._folder / unit / FILES[name], _text(name, value))
            return new_method_return(message)
        assert message.header.message_type is MessageType.method_call
        return new_method_return(message, "s", (":1.1",))  # to Hello


def _put(file: Path, text: str) -> None:
    """Write a file at once, as the kernel's are: nobody sees it empty."""
    anew = file.with_name(f"{file.name}.anew")
    anew.write_text(text)
    anew.replace(file)


def _text(name: str, value: int) -> str:
    if name == "CPUWeight":
        return "100" if value == UNSET else str(value)
    text = "max" if value == UNSET else str(value)
    if name == "CPUQuotaPerSecUSec":
        quota = "max" if value == UNSET else str(value * _PERIOD_US // 1_000_000)
        return f"{quota} {_PERIOD_US}"
    return text


def _authenticated(peer: socket.socket) -> None:
    said = b""
    while not said.endswith(b"BEGIN\r\n"):
        said += peer.recv(1)
        if said.endswith(b"\r\n") and not said.endswith(b"BEGIN\r\n"):
            known = b"AUTH" in said
            peer.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n" if known else b"ERROR\r\n")
            said = b""


@contextmanager
def system_bus(folder: Path, patch: Any) -> Iterator[Systemd]:
    """Let `enforce.bus` find this one, whose units are folders below `folder`."""
    patient = partial(open_dbus_connection, auth_timeout=_PATIENCE_S)
    patch.setattr("jeepney.io.blocking.open_dbus_connection", patient)
    with closing(Systemd(folder)) as systemd:
        patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={systemd.address}")
        yield systemd


def make_unit(folder: Path, name: str, **files: str) -> Path:
    """Make what stands for a unit's cgroup."""
    path = folder / name
    path.mkdir()
    stat = "anon 0\nshmem 0\ninactive_anon 0\nactive_anon 0\nunevictable 0\n"
    texts = {
        "cgroup.procs": "",
        "cpu.max": "max 100000",
        "cpu.weight": "100",
        "memory.high": "max",
        "memory.low": "0",
        "memory.current": "0",
        "memory.stat": stat,
    }
    for file, text in (texts | files).items():
        (path / file).write_text(text)
    return path
