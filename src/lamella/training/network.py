"""By which of a node's networks the others reach it."""

import ipaddress
import socket

import psutil

from lamella.errors import TrainingError

_ANY_PORT = 9
_WHERE = "training.network_interface"


def address_towards(host: str) -> str:
    """Return the IPv4 address that this node has on the way to another.

    Args:
        host: Name or address of the other node.

    Raises:
        TrainingError: the name has no address, or there is no way to it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            # Of a datagram's socket, nothing is sent: the kernel only chooses the way.
            way.connect((host, _ANY_PORT))
        except OSError as error:
            raise TrainingError(
                f"node {host} cannot be reached from here ({error.strerror})",
                _WHERE,
                "Name the network interface that connects the nodes",
            ) from error
        return str(way.getsockname()[0])


def address_of(interface: str) -> str:
    """Return the IPv4 address of a network interface.

    Raises:
        TrainingError: there is no such interface here, or it has none.
    """
    addresses = _addresses()
    if interface not in addresses:
        raise TrainingError(
            f"there is no network interface {interface!r} with an IPv4 address on"
            f" {socket.gethostname()}",
            _WHERE,
            f"Take one of {sorted(addresses)}",
        )
    return addresses[interface][0]


def interface_of(address: str) -> str:
    """Return the network interface that has an IPv4 address.

    Raises:
        TrainingError: there is none here.
    """
    for interface, addresses in _addresses().items():
        if address in addresses:
            return interface
    if ipaddress.ip_address(address).is_loopback:
        return "lo"
    raise TrainingError(
        f"no network interface has the address {address}",
        _WHERE,
        "Name the network interface that connects the nodes",
    )


def _addresses() -> dict[str, list[str]]:
    """Return the IPv4 addresses of each interface that has one."""
    found = {
        interface: [each.address for each in addresses if each.family is socket.AF_INET]
        for interface, addresses in psutil.net_if_addrs().items()
    }
    return {interface: addresses for interface, addresses in found.items() if addresses}
