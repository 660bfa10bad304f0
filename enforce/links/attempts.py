"""What each reading tries and may fail at: it is tried again seldom, and told while it fails."""

from collections.abc import Callable

# What cannot be set up is tried again after so many reads: loading programs takes 40 ms.
_RETRY_EVERY = 10


class Attempts:
    """Remembers what failed, and why; `begin` comes before all that one reading tries."""

    def __init__(self) -> None:
        self._reads, self._is_ended = -1, False
        self._failed: dict[str, tuple[int, str]] = {}  # what, when last tried, and why it failed
        self._wanted: set[str] = set()  # what of this was to be done in this reading

    def begin(self) -> None:
        """Begin a reading."""
        self._reads += 1
        self._wanted.clear()

    def end(self) -> None:
        """Try nothing more, also of a reading that is under way in another thread."""
        self._is_ended = True

    def is_done(self, what: str, act: Callable[[], None]) -> bool:
        """Do something unless it failed a short while ago; return whether it went well."""
        if self._is_ended:
            return False
        self._wanted.add(what)
        tried, _ = self._failed.get(what, (-_RETRY_EVERY, ""))
        if self._reads - tried < _RETRY_EVERY and what in self._failed:
            return False
        try:
            act()
        except Exception as error:  # noqa: BLE001 - pyroute2 raises what it likes, ticks go on
            self.failed(what, error)
            return False
        self.forget(what)
        return True

    def failed(self, what: str, error: Exception) -> None:
        """Note that something was tried in this reading, and failed."""
        self._wanted.add(what)
        self._failed[what] = (self._reads, str(error) or type(error).__name__)

    def forget(self, what: str) -> None:
        """Forget that something failed: it went well, or there is nothing to do any more."""
        self._failed.pop(what, None)

    def problems(self) -> list[str]:
        """Return why things fail, and forget what this reading did not want any more."""
        self._failed = {what: one for what, one in self._failed.items() if what in self._wanted}
        return [why for _, why in self._failed.values()]
