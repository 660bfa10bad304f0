"""What commands print before a terminal that is narrower than what they have to say."""

import fcntl
import os
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

CALL = (sys.executable, "-m", "agent", "check-config", "--config")


def shown(path: Path, columns: int) -> list[str]:
    """Return the lines that check-config prints before a terminal of so many columns."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    subprocess.run([*CALL, path], stdout=its, env=environment, check=True)
    os.close(its)
    said = b""
    with os.fdopen(ours, "rb", buffering=0) as screen, suppress(OSError):  # which ends it
        while more := screen.read(1 << 16):  # the kernel hands on in pieces
            said += more
    return said.decode().splitlines()


def test_what_is_promised_is_cut_between_words_before_a_terminal_alone(tmp_path: Path) -> None:
    (tmp_path / "tenants.d").mkdir()
    (tmp_path / "host.toml").touch()
    piped = subprocess.run([*CALL, tmp_path / "host.toml"], capture_output=True, check=True)
    whole = piped.stdout.decode().splitlines()
    cut = shown(tmp_path / "host.toml", 60)
    assert max(map(len, whole)) > 60 >= max(map(len, cut))
    assert " ".join(" ".join(cut).split()) == " ".join(whole)
