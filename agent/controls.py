"""What in the kernel limits each resource, and which resources nothing counts.  Pure."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal

from agent.tenant import BASIC, Kind, Resource
from enforce.columns import AnyControl, ClassControl, Control, DiskControl, DiskWeight, IoNumber

# Of all others limits are decided, and nothing enforces them yet; but see `control_of`.
LIMIT_CONTROL = {Resource.CPU: Control.CPU_MAX, Resource.MEMORY: Control.MEMORY_HIGH}
_PROMISE_CONTROL = {Resource.CPU: Control.CPU_WEIGHT, Resource.MEMORY: Control.MEMORY_LOW}
# Usage is unknown and there is no forecast, but where an uplink is named, whose classes count.
UNCOUNTED = (Kind.NET_OUT, Kind.NET_IN, Kind.REQUESTS)
_NUMBER: Mapping[Kind, IoNumber] = {
    Kind.DISK_READ: "rbps",
    Kind.DISK_WRITE: "wbps",
    Kind.DISK_READ_OPS: "riops",
    Kind.DISK_WRITE_OPS: "wiops",
}
_DIRECTION: Mapping[Kind, Literal["out", "in"]] = {Kind.NET_OUT: "out", Kind.NET_IN: "in"}


@cache
def control_of(resource: Resource) -> AnyControl | None:
    """Return what limits a resource; None is nothing.

    Of an uplink that is the ceil of its classes, of a disk a number of io.max.
    """
    if resource.kind in _NUMBER and resource.device:
        return DiskControl(resource.device, _NUMBER[resource.kind])
    if resource.kind in _DIRECTION and resource.device:
        return ClassControl(resource.device, _DIRECTION[resource.kind], "ceil")
    return LIMIT_CONTROL.get(resource)


@cache
def rate_control_of(resource: Resource) -> ClassControl | None:
    """Return what promises a resource of an uplink: the rate of its classes."""
    if resource.kind in _DIRECTION and resource.device:
        return ClassControl(resource.device, _DIRECTION[resource.kind], "rate")
    return None


def limit_and_promise(resource: Resource) -> tuple[AnyControl, ...]:
    """Return what limits a resource, and what keeps what is guaranteed of it; () is nothing."""
    both = (control_of(resource), _PROMISE_CONTROL.get(resource) or rate_control_of(resource))
    return tuple(control for control in both if control is not None)


@cache
def weight_control_of(resource: Resource) -> DiskWeight | None:
    """Return the weight by which a disk may be divided besides; few kernels do so."""
    is_disk = resource.kind in _NUMBER and resource.device
    return DiskWeight(resource.device) if is_disk else None


def weight_controls(resources: Iterable[Resource]) -> list[DiskWeight]:
    """Return the weights on every disk of a host that divides `resources`."""
    found = (weight_control_of(resource) for resource in resources)
    return list(dict.fromkeys(control for control in found if control is not None))


def all_controls(resources: Iterable[Resource]) -> list[AnyControl]:
    """Return every control of a host that divides `resources`: files, then devices' numbers."""
    return [*Control, *(c for r in resources if r not in BASIC for c in limit_and_promise(r))]


def device_controls(resources: Iterable[Resource]) -> list[AnyControl]:
    """Return every number of a device that tidegate may set, weights on disks among them."""
    found = list(resources)
    return [*all_controls(found)[len(Control) :], *weight_controls(found)]
