"""Reads the configuration anew beside the ticks, so that none of them waits for 10,000 files."""

import threading
from collections.abc import Callable

import structlog

from agent.config import ConfigError
from agent.settings import Config

log = structlog.get_logger()


class Loading:
    """A configuration that is being read."""

    def __init__(self, reread: Callable[[], Config], wake: Callable[[], None]) -> None:
        self.is_done = False
        self._reread, self._wake = reread, wake
        unread = "the configuration could not be read: the log says why"
        self._outcome: Config | ConfigError = ConfigError([unread])
        thread = threading.Thread(target=self._run, name="reload", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no room for a thread: better late ticks than no reload
            self._run()

    def config(self) -> Config:
        """Return what was read.

        Raises:
            ConfigError: It is unusable; every fault is named.

        """
        if isinstance(self._outcome, ConfigError):
            raise self._outcome
        return self._outcome

    def _run(self) -> None:
        try:
            self._outcome = self._reread()
        except ConfigError as error:
            self._outcome = error
        except Exception:  # a fault of ours in reading ends neither the agent nor the old limits
            log.exception("configuration cannot be read")
        finally:
            self.is_done = True
            self._wake()
