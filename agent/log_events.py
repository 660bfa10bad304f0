"""One line of the audit trail: what happened to whom, why, and the numbers that led to it.

Lines go to the log, which is only ever appended to.  Nothing here decides.
"""

from dataclasses import dataclass

import structlog

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Event:
    """One change; `tenant` is "" where it is the host's own."""

    event: str
    tick: int
    resource: str
    tenant: str
    reason: str
    numbers: dict[str, float]

    def log(self, **more: object) -> None:
        """Write the line."""
        who = {"tenant": self.tenant} if self.tenant else {}
        said = {**who, "reason": self.reason, **more, **self.numbers}
        _log.info(self.event, tick=self.tick, resource=self.resource, **said)
