"""What README tells an operator to write, for tests that do as they are told."""

from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
_COMMAND = "/usr/sbin/web-server --with its-own --arguments"


def drop_in(tenant: str, command: str) -> str:
    """Return README's drop-in, for another tenant and a service with that command."""
    _, _, after = (CHECKOUT / "README.md").read_text().partition("# systemctl edit web.service\n")
    text, _, _ = after.partition("```")
    assert text.count(" web %n") == 2
    assert _COMMAND in text
    return text.replace(" web %n", f" {tenant} %n").replace(_COMMAND, command)
