"""Which columns a trace file has, and which of them belong to which resource.  Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from agent.tenant import Floats, Kind, Resource

TENANT = "tenant"
TIME = "t"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One thing that tenants want: the column of how much, and that of their limit, if any."""

    demand: str
    limit: str = ""


CPU = Quantity("cpu_cores", "cpu_limit_cores")
MEMORY = Quantity("mem_bytes", "mem_limit_bytes")
QUANTITY_OF: Mapping[Resource, Quantity] = MappingProxyType(
    {
        Resource.CPU: CPU,
        Resource.MEMORY: MEMORY,
        Resource(Kind.DISK_READ): Quantity("io_read_bytes_per_s"),
        Resource(Kind.DISK_WRITE): Quantity("io_write_bytes_per_s"),
        Resource(Kind.NET_IN): Quantity("net_rx_bytes_per_s"),
        Resource(Kind.NET_OUT): Quantity("net_tx_bytes_per_s"),
    }
)
QUANTITIES = tuple(QUANTITY_OF.values())
NUMBER_COLUMNS = tuple(
    column for quantity in QUANTITIES for column in (quantity.demand, quantity.limit) if column
)


@dataclass(frozen=True, slots=True)
class TenantRows:
    """All rows of one tenant: when, and what each column holds; a column not named is null."""

    tenant: str
    at_s: Floats
    values: Mapping[str, Floats]
