"""Opens the port that the server listens on."""

from __future__ import annotations

import ipaddress
import socket

from service.errors import AddressError

BACKLOG = 4_096  # connections that wait to be accepted; the system caps it


def listen(host: str, port: int, options: str = "--host or --port") -> socket.socket:
    """Listen on an address, without blocking; port 0 lets the system choose.

    Args:
        host: a name or an address of this machine.
        port: 0 to 65535.
        options: what the user can choose otherwise, for the error.

    Raises:
        AddressError: it is taken, not ours, or no address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise _address_error(as_text(host, port), options, error) from error
    try:
        # Connections of a server that has just ended may still be closing. SO_REUSEPORT is left off: two
        # servers on one port would share its callers unasked.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # "::" is all addresses
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise _address_error(as_text(host, port), options, error) from error
    listening.settimeout(0)
    return listening


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at a host."""
    try:
        address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4][0]
        return ipaddress.ip_address(str(address).partition("%")[0]).is_loopback
    except (OSError, UnicodeError, ValueError):
        return False


def as_text(host: str, port: int) -> str:
    """Write an address as ``host:port``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address_error(address: str, options: str, error: OSError | UnicodeError) -> AddressError:
    reason = getattr(error, "strerror", None) or "it is no host name"
    return AddressError(f"cannot listen on {address}: {reason}; choose another {options}")
