"""Opens listening sockets."""

from __future__ import annotations

import ipaddress
import socket

from service.errors import AddressError

BACKLOG = 4_096  # connections that wait to be accepted; the system caps it


def listen(host: str, port: int, options: str = "--host or --port") -> socket.socket:
    """Return a non-blocking socket that listens on a host and port.

    Args:
        host: a name or an address of this machine.
        port: 0 lets the system choose.
        options: the options that set the address, for the error.

    Raises:
        AddressError: the address is taken, is not one of this machine, or does not exist.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise _address_error(format_address(host, port), options, error) from error
    try:
        # Connections of a server that has just ended may still be in TIME_WAIT. Not SO_REUSEPORT: two servers
        # could listen on one port by mistake, and each would get some of the connections.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # "::" includes IPv4
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise _address_error(format_address(host, port), options, error) from error
    listening.settimeout(0)
    return listening


def is_loopback(host: str) -> bool:
    """Whether a host can only be reached from this machine."""
    try:
        address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4][0]
        return ipaddress.ip_address(str(address).partition("%")[0]).is_loopback
    except (OSError, UnicodeError, ValueError):
        return False


def format_address(host: str, port: int) -> str:
    """Return ``host:port``, or ``[host]:port`` for IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address_error(address: str, options: str, error: OSError | UnicodeError) -> AddressError:
    reason = getattr(error, "strerror", None) or "it is not a host name"
    return AddressError(f"cannot listen on {address}: {reason}; choose another {options}")
