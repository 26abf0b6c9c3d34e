"""A DNS server on loopback that gives every name the same IPv4 addresses."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEAD = struct.Struct("!6H")  # RFC 1035, 4.1.1: id, flags, questions, answers, authorities, additional
_KIND = struct.Struct("!2H")
_RECORD = struct.Struct("!3HIH")  # name, type, class, seconds, length
_A, _IN = 1, 1
_ANSWER = 0x8580  # authoritative answer, recursion desired and available
_FIRST_NAME = 0xC00C  # pointer to the name in the question


class NameServer:
    """Context manager; answers on UDP at ``address``."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = [socket.inet_aton(host) for host in hosts]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._answer_all)
        self.address = "127.0.0.1:{1}".format(*self._socket.getsockname())
        self.names: list[str] = []
        """Names that clients looked up."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _answer_all(self) -> None:
        while True:
            query, asker = self._socket.recvfrom(512)
            if not query:
                return
            self._socket.sendto(self._answer(query), asker)

    def _answer(self, query: bytes) -> bytes:
        number, *_ = _HEAD.unpack_from(query)
        end = query.index(b"\0", _HEAD.size) + 1
        kind, _ = _KIND.unpack_from(query, end)
        question = query[_HEAD.size : end + _KIND.size]
        self.names.append(_name(question))
        hosts = self._hosts if kind == _A else []
        records = b"".join(_RECORD.pack(_FIRST_NAME, _A, _IN, 60, 4) + host for host in hosts)
        return _HEAD.pack(number, _ANSWER, 1, len(hosts), 0, 0) + question + records


def _name(question: bytes) -> str:
    labels, place = [], 0
    while length := question[place]:
        labels.append(question[place + 1 : place + 1 + length].decode())
        place += 1 + length
    return ".".join(labels)
