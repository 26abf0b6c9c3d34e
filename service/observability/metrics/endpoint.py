"""The metrics port: answers ``GET /metrics`` over HTTP/1.1, a request a connection.

In: connections of whoever scrapes. Out: what there is to tell at that moment, as text. Bounded in time, in
bytes and in connections: where there are too many, the oldest makes room, so that nobody who connects and
says nothing keeps a scrape from being answered. Knows nothing of where the numbers come from.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service.observability.metrics.exposition import Exposition
from service.system.listener import as_text, listen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.observability.metrics.snapshot import Snapshot

PATH = "/metrics"
_MOST_CONNECTIONS = 32
_MOST_HEAD_BYTES = 16 << 10
_PATIENCE_S = 10.0
"""For a whole exchange."""
_PLAIN = "text/plain; charset=utf-8"
_log = structlog.get_logger(__name__)


class Endpoint:
    """A port that is listened on from the start, and answers once it is opened."""

    def __init__(self, host: str, port: int | None, collect: Callable[[], Awaitable[Snapshot]]) -> None:
        """Bind the port.

        Args:
            host: to listen on.
            port: 0 lets the system choose; None is no port, and nobody is answered.
            collect: tells what there is to tell.

        Raises:
            AddressError: it cannot be listened on.
        """
        self._host = host
        self._listening = None if port is None else listen(host, port, "--metrics-host or --metrics-port")
        self._collect = collect
        self._server: asyncio.Server | None = None
        self._exchanges: dict[asyncio.Task[None], None] = {}
        """Oldest first."""

    async def open(self) -> None:
        """Begin to answer, and have the log say where."""
        if self._listening is None:
            return
        address = as_text(self._host, self._listening.getsockname()[1])
        self._server = await asyncio.start_server(self._take, sock=self._listening, limit=_MOST_HEAD_BYTES)
        _log.info("metrics", url=f"http://{address}{PATH}")

    async def close(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        elif self._listening is not None:
            self._listening.close()
        exchanges = list(self._exchanges)
        for exchange in exchanges:
            exchange.cancel()
        await asyncio.gather(*exchanges, return_exceptions=True)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._exchanges) >= _MOST_CONNECTIONS:
            oldest = next(iter(self._exchanges))
            del self._exchanges[oldest]
            oldest.cancel()
        exchange = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._exchanges[exchange] = None
        exchange.add_done_callback(partial(self._leave, writer))

    def _leave(self, writer: asyncio.StreamWriter, exchange: asyncio.Task[None]) -> None:
        """Close the connection of an exchange that is over, even if it never began."""
        self._exchanges.pop(exchange, None)
        if writer.transport.get_write_buffer_size():
            writer.transport.abort()  # it was not read, and would be kept for ever
        else:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._answer(await _read_head(reader), writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # it is the other side that does not go on, or has gone
        except Exception:  # noqa: BLE001 - of one scrape: calls, and further scrapes, are answered all the same
            _log.exception("scrape failed")

    async def _answer(self, head: list[bytes] | None, writer: asyncio.StreamWriter) -> None:
        if head is None:
            await _send(writer, "400 Bad Request", _PLAIN, "this is no request of HTTP/1.1\n")
            return
        method, target, _ = head[0].split(b" ")
        path = target.partition(b"?")[0].decode("latin-1")
        if path != PATH:
            await _send(writer, "404 Not Found", _PLAIN, f"there is {PATH} and nothing else\n")
        elif method not in {b"GET", b"HEAD"}:
            await _send(writer, "405 Method Not Allowed", _PLAIN, "ask with GET\n", "Allow: GET, HEAD")
        else:
            exposition = Exposition(_accept(head[1:]))
            parts = []
            for part in exposition.write(await self._collect()):
                parts.append(part)
                await asyncio.sleep(0)  # let calls have their turn
            body = "".join(parts)
            await _send(writer, "200 OK", exposition.content_type, body, is_head=method == b"HEAD")


async def _read_head(reader: asyncio.StreamReader) -> list[bytes] | None:
    """Return the lines of a request's head; None if it is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return None
    lines = head[:-4].split(b"\r\n")
    words = lines[0].split(b" ")
    is_http = len(words) == 3 and words[2].startswith(b"HTTP/1.")  # noqa: PLR2004 - method, target, version
    return lines if is_http else None


def _accept(fields: list[bytes]) -> str:
    pairs = (field.partition(b":") for field in fields)
    return ",".join(value.decode("latin-1") for name, _, value in pairs if name.lower() == b"accept")


async def _send(
    writer: asyncio.StreamWriter,
    status: str,
    content_type: str,
    body: str,
    *fields: str,
    is_head: bool = False,
) -> None:
    content = body.encode()
    head = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(content)}",
        "Connection: close",
        *fields,
        "\r\n",
    )
    writer.transport.set_write_buffer_limits(high=0)  # so that it is out when drain returns
    writer.write("\r\n".join(head).encode() + (b"" if is_head else content))
    await writer.drain()
