"""Puts back beside the ticks what is not limited any more: systemd may take seconds to answer.

What is to be put back, and what became of it, is none of its business: see `agent.release`.
"""

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger()


class Releasing:
    """A release that is under way; `problem` says what is in its way, or that it has not ended."""

    def __init__(
        self,
        release: Callable[[], str | None],
        ended: Callable[[], None],
        *,
        until_then: str | None,
    ) -> None:
        """Begin; `ended` is called once all is said, in the thread that says it."""
        self.is_done, self.problem = False, until_then
        self._release, self._ended = release, ended
        self._thread = threading.Thread(target=self._run, name="release", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no room for a thread: better late ticks than limits that stay
            self._run()

    def wait(self, most_s: float) -> None:
        """Wait for the end, at most so long."""
        if self._thread.ident is not None:
            self._thread.join(most_s)

    def _run(self) -> None:
        try:
            self.problem = self._release()
        except Exception:  # a fault of ours ends neither the agent nor its limits
            log.exception("nothing more is put back")
            self.problem = "what is limited no more could not be put back: the log says why"
        finally:
            self.is_done = True
            self._ended()
