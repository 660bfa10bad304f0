"""What each tenant is entitled to of one resource on this host.  Pure."""

from dataclasses import dataclass

import numpy as np

from agent.pools import fair_share
from agent.tenant import Bools, Floats, Terms


@dataclass(frozen=True, slots=True)
class Entitled:
    """Columns of shape (tenants,), in the resource's base unit; zero of who is absent.

    `rate` is what its tokens come in at: its floor, or its share where that is more.  Not what it
    is guaranteed in this tick: that is less than what it is expected to use, and who uses just
    what is expected would be in debt for ever.
    """

    ceiling: Floats  # as configured, at most what is divided
    fair: Floats  # its weighted share of the capacity
    rate: Floats

    @classmethod
    def of(cls, terms: Terms, is_present: Bools, *, total: float, capacity: float) -> "Entitled":
        """Return what `terms` are worth where `total` is divided, `capacity` without a reserve."""
        ceiling = np.where(is_present, np.minimum(terms.ceiling, total), 0.0)
        fair = fair_share(terms.weight, ceiling, capacity)
        return cls(ceiling, fair, np.maximum(terms.floor, np.minimum(fair, ceiling)))
