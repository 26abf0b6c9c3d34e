"""Classifies by a running server.

In: a client, the name of a model, and items. Out: rows. How many images are under way, and that calls are
repeated while the server is away for a moment, is the client's business. Knows nothing of where items come
from and where rows go.
"""

from __future__ import annotations

from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING

import grpc

from cifar10net.errors import ClientError, ImageError
from service.batch.engines.engine import Subject
from service.batch.row import Row, Score

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from cifar10net import Client, Options, Priority
    from cifar10net.messages import ImageResult
    from service.batch.item import Item

    OnTiming = Callable[[dict[str, float]], None]


class ServerEngine:
    """Asks a server."""

    def __init__(
        self,
        client: Client,
        model: str,
        version: str,
        *,
        priority: Priority = "interactive",
        on_timing: OnTiming | None = None,
    ) -> None:
        """Prepare to ask.

        Args:
            client: of the server.
            model: its name there; empty is the server's default.
            version: of it; empty is the newest.
            priority: who goes first when images have to wait there.
            on_timing: is told of each call how long its parts took in the server; then there are calls, and
                no stream.
        """
        self._client = client
        self._model = model
        self._version = version
        self._priority = priority
        self._on_timing = on_timing

    def subject(self) -> Subject:
        """Say which model answers; it is this very version that will be asked from now on.

        Raises:
            ClientError: the server does not answer, or has no such model.
        """
        models = self._client.models()
        for each in models:
            is_named = each.name == self._model if self._model else each.is_default
            if is_named and self._version in {"", each.version}:
                self._model, self._version = each.name, each.version
                return Subject(each.name, each.version, each.labels, f"version {each.version} of a server")
        named = " ".join(filter(None, (self._model, self._version)))
        there = ", ".join(f"{each.name} {each.version}" for each in models)
        raise ClientError(
            grpc.StatusCode.NOT_FOUND, f"the server has no model {named}; it answers for: {there}"
        )

    def classify(self, items: Iterable[Item], top_k: int) -> Iterator[Row]:
        asked: deque[tuple[Item, ImageError | None]] = deque()
        with closing(self._ask(_files(items, asked), top_k)) as results:
            for result in results:
                item, error = asked.popleft()
                yield _row(item, error or result.error, result)

    def _ask(self, files: Iterable[bytes], top_k: int) -> Generator[ImageResult]:
        """Have the server answer file by file, in order."""
        wanted: Options = {
            "top_k": top_k,
            "model": self._model,
            "version": self._version,
            "priority": self._priority,
        }
        if self._on_timing is None:
            return self._client.classify_stream(files, **wanted)
        return self._client.classify_iter(files, on_timing=self._on_timing, **wanted)


def _files(items: Iterable[Item], asked: deque[tuple[Item, ImageError | None]]) -> Iterator[bytes]:
    """Yield the file of each item, and note which it was.

    For one that cannot be read nothing is sent, as an empty image: it keeps its place in the stream, and so
    whatever bounds the images under way bounds those that cannot be read, too.
    """
    for item in items:
        error, data = None, b""
        try:
            data = item.read()
        except ImageError as problem:
            error = problem
        asked.append((item, error))
        yield data


def _row(item: Item, error: ImageError | None, result: ImageResult) -> Row:
    label = None if item.label is None else str(item.label)
    if error is not None:
        return Row(item.source, (), result.model, result.version, error.code.name, error.message, label)
    scores = tuple(Score(one.index, one.label, one.probability) for one in result.classes)
    return Row(item.source, scores, result.model, result.version, label=label)
