"""Messages to systemd, received on a real datagram socket as systemd would."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.notify import Notifier


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[socket.socket]:
    """Return the socket at which systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(5)
        yield receiver


def asked(inbox: socket.socket, **more: str) -> Notifier:
    """Return the notifier for the environment that systemd would give."""
    return Notifier.from_environment({"NOTIFY_SOCKET": inbox.getsockname(), **more})


def test_each_state_is_one_message(inbox: socket.socket) -> None:
    notifier = asked(inbox)
    notifier.ready("4 tenants")
    notifier.status("two\nlines")
    notifier.stopping()
    assert [inbox.recv(200) for _ in range(3)] == [
        b"READY=1\nSTATUS=4 tenants",
        b"STATUS=two lines",
        b"STOPPING=1",
    ]


def test_a_long_status_does_not_cost_the_message(inbox: socket.socket) -> None:
    asked(inbox).ready("fault " * 100_000)
    assert inbox.recv(5000).startswith(b"READY=1\nSTATUS=fault fault ")


def test_a_reload_carries_the_monotonic_time(inbox: socket.socket) -> None:
    asked(inbox).reloading()
    state, time = inbox.recv(200).split(b"\n")
    assert state == b"RELOADING=1"
    assert time.removeprefix(b"MONOTONIC_USEC=").isdigit()


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0tidegate-test-{os.getpid()}")
        receiver.settimeout(5)
        Notifier(f"@tidegate-test-{os.getpid()}").ready()
        assert receiver.recv(200) == b"READY=1"


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_only_where_it_watches_us(
    inbox: socket.socket, environment: dict[str, str], watchdog_s: float | None
) -> None:
    notifier = asked(inbox, **environment)
    assert notifier.watchdog_s == watchdog_s
    notifier.watchdog()
    notifier.stopping()
    expected = b"STOPPING=1" if watchdog_s is None else b"WATCHDOG=1"
    assert inbox.recv(200) == expected


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/at/all", "@nobody-listens-here"])
def test_without_systemd_nothing_is_said_and_nothing_fails(address: str) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address} if address else {})
    notifier.ready("x")
    notifier.watchdog()
    assert notifier.watchdog_s is None


def test_a_full_queue_never_holds_the_agent_up(inbox: socket.socket) -> None:
    notifier = asked(inbox, WATCHDOG_USEC="1000000")
    for _ in range(10_000):
        notifier.watchdog()
    assert inbox.recv(200) == b"WATCHDOG=1"
