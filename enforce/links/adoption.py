"""Which class an earlier agent left to whom: nobody adopts another's."""

from collections.abc import Collection, Sequence

import numpy as np

from enforce.links.classes import minors_for, others_than
from enforce.links.netlink import ClassSocket


def adopted(
    netlink: ClassSocket, ifindexes: Collection[int], known: Sequence[int | None]
) -> list[int]:
    """Return a minor for each tenant, the one that it is `known` by where there is one.

    Classes that no tenant is known by are removed first: a newcomer must not find another's limits.
    What the kernel does not remove is nobody's.

    Raises:
        OSError: The kernel did not tell what there is.

    """
    kept = np.array([minor for minor in known if minor is not None], dtype=np.int64)
    left: set[int] = set()
    for ifindex in ifindexes:
        others = others_than(kept, netlink.classes(ifindex))
        if len(others):
            netlink.remove_classes(ifindex, others.tolist())
            left.update(others_than(kept, netlink.classes(ifindex)).tolist())
    return minors_for(known, left)
