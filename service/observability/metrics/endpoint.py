"""The metrics port: answers ``GET /metrics`` over HTTP/1.1, one request a connection.

Bounded in time, bytes and connections. Beyond the limit the oldest connection is closed, so that idle ones
cannot keep a scrape from being answered.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from service.observability.metrics.exposition import Exposition
from service.system.listener import format_address, listen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.observability.metrics.snapshot import Snapshot

PATH = "/metrics"
MAX_CONNECTIONS = 32
TIMEOUT_S = 10.0
"""For a whole exchange."""
_MAX_HEAD_BYTES = 16 << 10
_PLAIN = "text/plain; charset=utf-8"
_log = structlog.get_logger(__name__)


class Endpoint:
    """Listens from the start, and answers once it is opened."""

    def __init__(self, host: str, port: int | None, collect: Callable[[], Awaitable[Snapshot]]) -> None:
        """Bind the port.

        Args:
            host: to listen on.
            port: 0 lets the system choose; None opens no port.
            collect: returns the snapshot to expose.

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
        """Start to answer, and log the URL."""
        if self._listening is None:
            return
        address = format_address(self._host, self._listening.getsockname()[1])
        self._server = await asyncio.start_server(self._take, sock=self._listening, limit=_MAX_HEAD_BYTES)
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
        if len(self._exchanges) >= MAX_CONNECTIONS:
            oldest = next(iter(self._exchanges))
            del self._exchanges[oldest]
            oldest.cancel()
        exchange = asyncio.get_running_loop().create_task(self._exchange(reader, writer))
        self._exchanges[exchange] = None
        exchange.add_done_callback(partial(self._close, writer))

    def _close(self, writer: asyncio.StreamWriter, exchange: asyncio.Task[None]) -> None:
        """Close the connection of an exchange that is over, even if its task never ran."""
        self._exchanges.pop(exchange, None)
        if writer.transport.get_write_buffer_size():
            writer.transport.abort()  # a client that does not read would keep it open for ever
        else:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._answer(await _read_head(reader), writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # the client is too slow, or gone
        except Exception:  # noqa: BLE001 - only this scrape fails: calls and further scrapes are answered
            _log.exception("scrape failed")

    async def _answer(self, head: list[bytes] | None, writer: asyncio.StreamWriter) -> None:
        if head is None:
            await _send(writer, "400 Bad Request", _PLAIN, "this is not an HTTP/1.1 request\n")
            return
        method, target, _ = head[0].split(b" ")
        path = target.partition(b"?")[0].decode("latin-1")
        if path != PATH:
            await _send(writer, "404 Not Found", _PLAIN, f"only {PATH} exists\n")
        elif method not in {b"GET", b"HEAD"}:
            await _send(writer, "405 Method Not Allowed", _PLAIN, "use GET\n", "Allow: GET, HEAD")
        else:
            exposition = Exposition(_accept(head[1:]))
            parts = []
            for part in exposition.write(await self._collect()):
                parts.append(part)
                await asyncio.sleep(0)  # let calls have their turn
            body = "".join(parts)
            await _send(writer, "200 OK", exposition.content_type, body, is_head=method == b"HEAD")


async def _read_head(reader: asyncio.StreamReader) -> list[bytes] | None:
    """Return the lines of a request's head; None if it is malformed or too long."""
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
    writer.transport.set_write_buffer_limits(high=0)  # so that drain waits until all is sent
    writer.write("\r\n".join(head).encode() + (b"" if is_head else content))
    await writer.drain()
