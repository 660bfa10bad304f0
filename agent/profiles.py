"""A forecast profile, resource by resource.  Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.tenant import Floats, Terms
from forecast.profile import BOUNDS, Numbers, Profile, Source
from forecast.quality import Quality
from forecast.settings import HORIZONS


@dataclass(frozen=True, slots=True)
class ResourceProfile:
    """One resource's slice of a forecast profile; columns of shape (tenants,)."""

    levels: Floats
    grid: Numbers  # (levels, tenants)
    expected: Floats
    maximum: Numbers  # (horizons, bounds, tenants)
    source: NDArray[np.uint8]  # forecast.profile.Source
    quality: Quality | None = None

    @classmethod
    def unknown(cls, levels: Floats, tenants: int) -> "ResourceProfile":
        """Return the profile of a resource that nothing is known of."""
        nothing = np.full(tenants, np.nan)
        source = np.full(tenants, Source.LEARNING, dtype=np.uint8)
        grid = np.full((len(levels), tenants), np.nan)
        maximum = np.full((HORIZONS, len(BOUNDS), tenants), np.nan)
        return cls(levels, grid, nothing, maximum, source)

    @classmethod
    def of(cls, profile: Profile, place: int, tenants: int) -> "ResourceProfile":
        """Cut the resource at `place` out of a profile: series are ordered resource by resource."""
        cut = slice(place * tenants, (place + 1) * tenants)
        return cls(
            profile.levels,
            profile.grid[:, cut],
            profile.expected[cut],
            profile.maximum[..., cut],
            profile.source[cut],
            None if profile.quality is None else profile.quality.cut(cut),
        )

    def without_gaps(self, terms: Terms, ceiling: Floats) -> tuple[Floats, Floats]:
        """Return expectation and quantiles up to the ceiling; the widest guess where there is none.

        Demand beyond the ceiling can never be served: it is no reason to hold anything back.  Of a
        tenant without data nothing is known but that its demand is below its ceiling: all values up
        to it are as likely (the maximum-entropy distribution on an interval).  A series of which
        one number is missing is as good as none.
        """
        is_known = np.isfinite(self.expected) & np.isfinite(self.grid).all(axis=0)
        if is_known.all():
            return np.minimum(self.expected, ceiling), np.minimum(self.grid, ceiling)
        expected = np.where(is_known, self.expected, np.minimum(terms.floor, ceiling))
        flat = self.levels[:, None] * ceiling[None, :]
        grid = np.where(is_known, self.grid, flat)
        return np.minimum(expected, ceiling), np.minimum(grid, ceiling)
