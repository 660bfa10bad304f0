"""A child process whose pipes never block: how the agent talks to its forecaster.

Nothing here knows what is talked about beyond messages being whole.
"""

import os
import select
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl
from typing import Final

from forecast.message import Frames, Message

# One thread: refits are small, and the host's cores belong to tenants.
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 20
# Of one call: enough for two profiles of 50,000 series, some 5 ms.
MOST_BYTES_A_CALL: Final = 8 << 20


class ChildGoneError(Exception):
    """The child closed its end of a pipe."""


class Child:
    """One forecaster process and its pipes, which never block.

    Raises:
        OSError: It cannot be started.

    """

    def __init__(self, command: Sequence[str]) -> None:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment | _ONE_THREAD,
            # Ours are close-on-exec; walking through tens of thousands of them takes long.
            close_fds=False,
        )
        self._stdin, self._stdout = (
            pipe.fileno() for pipe in (self._process.stdin, self._process.stdout) if pipe
        )
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe, False)
            with suppress(OSError):  # over the user's quota: the pipe stays as small as it is
                fcntl(pipe, F_SETPIPE_SZ, _PIPE_BYTES)
        self._frames = Frames()
        self._unsent = memoryview(b"")

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def has_unsent(self) -> bool:
        """Say whether part of a message still waits for room in the pipe."""
        return len(self._unsent) > 0

    def send(self, frame: bytes) -> int:
        """Take over a message (there must be none unsent) and write what fits in the pipe."""
        self._unsent = memoryview(frame)
        return self.flush()

    def flush(self) -> int:
        """Write as much of the unsent message as fits in the pipe; return how many bytes did.

        Raises:
            ChildGoneError: Nobody reads the pipe any more.

        """
        written = 0
        while self._unsent:
            try:
                count = os.write(self._stdin, self._unsent)
            except BlockingIOError:
                break
            except BrokenPipeError as error:
                raise ChildGoneError("closed its input") from error
            written += count
            self._unsent = self._unsent[count:]
        return written

    def wait_for_pipes(self, timeout_s: float) -> bool:
        """Wait until there is something to read or room to write; say whether there is.

        Not for the tick: it is a replay that has nothing else to do.
        """
        writable = [self._stdin] if self.has_unsent else []
        return any(select.select([self._stdout], writable, [], timeout_s))

    def received(self) -> Iterator[Message]:
        """Yield what has arrived, up to a bound.

        Raises:
            ChildGoneError: It closed its output.
            MessageError: It wrote what is no message.

        """
        count = 0
        while count < MOST_BYTES_A_CALL:
            try:
                data = os.read(self._stdout, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                raise ChildGoneError("ended")
            count += len(data)
            yield from self._frames.fed(data)

    def is_reaped(self) -> bool:
        """Say whether the process is gone for good."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End the process, however stuck it is; `is_reaped` tells when it is gone."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def wait(self, timeout_s: float) -> None:
        """Wait until the process is gone, at most so long."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
