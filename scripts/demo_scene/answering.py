"""Answers HTTP requests, each with a body that is made for it; what web and shop have in common."""

import socket
from collections.abc import Callable, Iterable
from threading import Thread

BACKLOG = 1024


def answer_for_ever(listener: socket.socket, bodies: Iterable[Callable[[], bytes]]) -> list[Thread]:
    """Start a thread for each maker of bodies, and return them all: none ever ends."""
    threads = [Thread(target=_answer, args=(listener, body)) for body in bodies]
    for thread in threads:
        thread.start()
    return threads


def _answer(listener: socket.socket, body: Callable[[], bytes]) -> None:
    while True:
        visitor, _ = listener.accept()
        with visitor:
            try:
                visitor.recv(4096)
                if _is_gone(visitor):
                    continue
                made = body()
                visitor.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(made) + made)
            except OSError:  # the visitor has gone away
                continue


def _is_gone(visitor: socket.socket) -> bool:
    """Say whether the visitor has hung up, so that no work is wasted on them."""
    try:
        return not visitor.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
