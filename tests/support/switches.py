"""A switch of Open vSwitch's kernel part, without its daemon: ports, and no flows."""

import socket

from pyroute2.netlink import NLM_F_ACK, NLM_F_REQUEST, genlmsg
from pyroute2.netlink.generic import GenericNetlinkSocket
from traffic import sh

_NEW, _DELETE, _NETDEV = 1, 2, 1  # linux/openvswitch.h


class _Datapath(genlmsg):  # type: ignore[misc]
    fields = (("cmd", "B"), ("version", "B"), ("reserved", "H"), ("dp", "i"))
    nla_map = (("NONE", "none"), ("NAME", "asciiz"), ("PID", "uint32"))


class _Port(genlmsg):  # type: ignore[misc]
    fields = _Datapath.fields
    nla_map = (
        ("NONE", "none"),
        ("NUMBER", "uint32"),
        ("TYPE", "uint32"),
        ("NAME", "asciiz"),
        ("OPTIONS", "hex"),
        ("PID", "uint32"),
    )


class Switch:
    """Makes a switch, and takes it away."""

    def __init__(self, name: str) -> None:
        sh("modprobe openvswitch")
        self._name = name
        self._ask(_NEW, "ovs_datapath", _Datapath(), NAME=name, PID=0)

    def add(self, interface: str) -> None:
        """Let an interface be a port of it."""
        message = _Port()
        message["dp"] = socket.if_nametoindex(self._name)
        self._ask(_NEW, "ovs_vport", message, NAME=interface, TYPE=_NETDEV, PID=0)

    def take(self) -> None:
        """Take it away; its ports are interfaces of their own again."""
        self._ask(_DELETE, "ovs_datapath", _Datapath(), NAME=self._name)

    def _ask(self, command: int, family: str, message: genlmsg, **words: object) -> None:
        message["cmd"], message["version"], message["attrs"] = command, 1, list(words.items())
        with GenericNetlinkSocket() as netlink:
            netlink.bind(family, type(message))
            flags = NLM_F_REQUEST | NLM_F_ACK
            tuple(netlink.nlm_request(message, msg_type=netlink.prid, msg_flags=flags))
