"""Tenants, their QoS classes and the roster that gives each a column position.  Pure.

Nothing here reads a file or knows where a tenant's numbers come from.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Kind(StrEnum):
    """What is shared.  Memory is held (bytes); all else is spent, at so much a second."""

    CPU = "cpu"  # cores
    MEMORY = "memory"  # bytes
    DISK_READ = "disk_read"  # bytes/s
    DISK_WRITE = "disk_write"
    DISK_READ_OPS = "disk_read_ops"  # operations/s
    DISK_WRITE_OPS = "disk_write_ops"
    NET_OUT = "net_out"  # bytes/s
    NET_IN = "net_in"
    REQUESTS = "requests"  # requests/s

    @property
    def group(self) -> str:
        """Return what it belongs to, as configured: cpu, memory, disk, network or requests."""
        stem = str(self).partition("_")[0]
        return "network" if stem == "net" else stem


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that a host divides: a kind, and of which device where each has its own."""

    kind: Kind
    device: str = ""

    CPU: ClassVar["Resource"]
    MEMORY: ClassVar["Resource"]

    def __str__(self) -> str:
        return f"{self.kind}:{self.device}" if self.device else str(self.kind)

    @classmethod
    def parsed(cls, text: str) -> "Resource":
        """Return the resource that `str` gave as `text`.

        Raises:
            ValueError: There is no such kind.

        """
        kind, _, device = text.partition(":")
        return cls(Kind(kind), device)

    @property
    def is_spent(self) -> bool:
        """Say whether tokens are used up (True) or only held (False)."""
        return self.kind is not Kind.MEMORY


Resource.CPU, Resource.MEMORY = Resource(Kind.CPU), Resource(Kind.MEMORY)
BASIC = (Resource.CPU, Resource.MEMORY)  # what every host divides


@dataclass(frozen=True, slots=True)
class QosClass:
    """What a class of tenants buys.

    `weight` counts in shortage, `risk_aversion` (0 to 1) shields the guaranteed part from
    uncertainty, rank 0 is served first by the emergency pool, `burst_s` is how many seconds'
    worth of the tokens that come in a tenant may bank.
    """

    name: str
    weight: float
    risk_aversion: float
    emergency_rank: int
    burst_s: float


@dataclass(frozen=True, slots=True)
class Entitlement:
    """One tenant's promise of one resource, in its base unit; no `ceiling` means the host's."""

    floor: float = 0.0
    ceiling: float = float("inf")
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant as configured; a tenant that is only observed is decided for, never written."""

    name: str
    qos: QosClass
    entitlements: Mapping[Resource, Entitlement]
    is_observed_only: bool = False
    metrics_file: str | None = None  # a path
    regions: tuple[str, ...] = ()  # tags: whose events are also its own
    memory_max_bytes: float = float("inf")  # where the kernel kills; inf is left as it is
    veth: str | None = None  # the host's end, of a tenant in a network namespace of its own
    unit: str = ""  # of systemd's, where it lives in one
    cgroup: str = ""  # a path below the mount, where it lives in another's

    @property
    def is_elsewhere(self) -> bool:
        """Say whether it lives outside of tidegate's own cgroup."""
        return bool(self.unit or self.cgroup)

    @property
    def has_network(self) -> bool:
        """Say whether its packets can be told from others': below our own cgroup, or by a veth."""
        return not self.is_elsewhere or self.veth is not None


@dataclass(frozen=True, slots=True)
class Terms:
    """What tenants are entitled to of one resource, as columns of shape (tenants,)."""

    floor: Floats
    ceiling: Floats
    weight: Floats
    risk_aversion: Floats
    emergency_rank: Ints
    burst_s: Floats


@dataclass(frozen=True, slots=True)
class Roster:
    """All tenants in name order: a tenant's index here is its position in every column."""

    names: tuple[str, ...]
    qos_names: tuple[str, ...]
    is_observed_only: Bools
    terms: Mapping[Resource, Terms]
    is_elsewhere: Bools  # not below tidegate's own cgroup
    memory_max_bytes: Floats  # inf is left as it is

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, tenants: Iterable[Tenant], resources: Sequence[Resource] = BASIC) -> "Roster":
        """Order `tenants` by name, so that the order of files decides nothing (law 7).

        `resources` are those that the host divides.

        Raises:
            ValueError: Two tenants have one name.

        """
        ordered = sorted(tenants, key=lambda tenant: tenant.name)
        names = tuple(tenant.name for tenant in ordered)
        if len(set(names)) != len(names):
            raise ValueError("tenant names must be unique")
        return cls(
            names=names,
            qos_names=tuple(tenant.qos.name for tenant in ordered),
            is_observed_only=np.array([t.is_observed_only for t in ordered], dtype=np.bool_),
            terms=_terms(ordered, resources),
            is_elsewhere=np.array([t.is_elsewhere for t in ordered], dtype=np.bool_),
            memory_max_bytes=np.array([t.memory_max_bytes for t in ordered], dtype=np.float64),
        )

    def all_observed(self) -> "Roster":
        """Return the same tenants, none of whom is more than observed."""
        return replace(self, is_observed_only=np.ones(len(self), dtype=np.bool_))

    def capped(self, caps: Mapping[Resource, Floats]) -> "Roster":
        """Return the same tenants, none of whom may have more than `caps`, nor is promised more.

        `caps` are what ancestors of their cgroups are limited to, shape (tenants,); inf is nothing.
        """
        terms = {
            resource: replace(
                one,
                ceiling=np.minimum(one.ceiling, caps.get(resource, np.inf)),
                floor=np.minimum(one.floor, caps.get(resource, np.inf)),
            )
            for resource, one in self.terms.items()
        }
        return replace(self, terms=terms)

    def positions_in(self, other: "Roster") -> Ints:
        """Return each tenant's position in `other`, -1 where it is not there."""
        return positions_among(self.names, other.names)


def positions_among(names: Iterable[str], others: Iterable[str]) -> Ints:
    """Return each name's position among others, -1 where it is not there."""
    at = {name: position for position, name in enumerate(others)}
    return np.array([at.get(name, -1) for name in names], dtype=np.int64)


def carried_over(column: Floats, positions: Ints, missing: float = float("nan")) -> Floats:
    """Return `column` (..., tenants before) rearranged to a new roster's `positions`."""
    if column.shape[-1] == 0:
        return np.full((*column.shape[:-1], len(positions)), missing)
    return np.where(positions >= 0, column[..., np.maximum(positions, 0)], missing)


def _terms(tenants: list[Tenant], resources: Sequence[Resource]) -> dict[Resource, Terms]:
    """Return what tenants are entitled to; what their classes say is the same of all resources."""
    qos_weight = np.array([t.qos.weight for t in tenants], dtype=np.float64)
    risk_aversion = np.array([t.qos.risk_aversion for t in tenants], dtype=np.float64)
    emergency_rank = np.array([t.qos.emergency_rank for t in tenants], dtype=np.int64)
    burst_s = np.array([t.qos.burst_s for t in tenants], dtype=np.float64)

    def of(resource: Resource) -> Terms:
        entitled = [tenant.entitlements.get(resource, Entitlement()) for tenant in tenants]
        return Terms(
            floor=np.array([e.floor for e in entitled], dtype=np.float64),
            ceiling=np.array([e.ceiling for e in entitled], dtype=np.float64),
            weight=np.array([e.weight for e in entitled], dtype=np.float64) * qos_weight,
            risk_aversion=risk_aversion,
            emergency_rank=emergency_rank,
            burst_s=burst_s,
        )

    return {resource: of(resource) for resource in resources}
