"""Engine that asks a running server.

The client bounds the images in flight, and retries calls while the server is briefly away.
"""

from __future__ import annotations

from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING

import grpc

from cifar10net.errors import ClientError, ImageError
from service.batch.engines.engine import ModelIdentity, row_of
from service.batch.row import TopClass

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from cifar10net import Client, Options, Priority
    from cifar10net.messages import ImageResult
    from service.batch.item import Item
    from service.batch.row import Row

    OnTiming = Callable[[dict[str, float]], None]


class ServerEngine:
    """Asks a server for one model version."""

    def __init__(
        self,
        client: Client,
        model: str,
        version: str,
        *,
        priority: Priority = "interactive",
        on_timing: OnTiming | None = None,
    ) -> None:
        """Ask for a model and version; empty are the server's default model and its newest version.

        ``on_timing`` gets the server's timing of each call; the images then go in calls, not in a stream.
        """
        self._client = client
        self._model = model
        self._version = version
        self._priority = priority
        self._on_timing = on_timing

    def model(self) -> ModelIdentity:
        """Return the model; later calls ask for this very version.

        Raises:
            ClientError: the server does not answer, or has no such model.
        """
        models = self._client.models()
        for each in models:
            is_named = each.name == self._model if self._model else each.is_default
            if is_named and self._version in {"", each.version}:
                self._model, self._version = each.name, each.version
                fingerprint = f"version {each.version} of a server"
                return ModelIdentity(each.name, each.version, each.labels, fingerprint)
        named = " ".join(filter(None, (self._model, self._version)))
        there = ", ".join(f"{each.name} {each.version}" for each in models)
        raise ClientError(grpc.StatusCode.NOT_FOUND, f"the server has no model {named}; it has: {there}")

    def classify(self, items: Iterable[Item], top_k: int) -> Iterator[Row]:
        sent: deque[tuple[Item, ImageError | None]] = deque()
        with closing(self._ask(_files(items, sent), top_k)) as results:
            for result in results:
                item, error = sent.popleft()
                classes = tuple(TopClass(one.index, one.label, one.probability) for one in result.classes)
                yield row_of(item, result.model, result.version, classes, error or result.error)

    def _ask(self, files: Iterable[bytes], top_k: int) -> Generator[ImageResult]:
        options: Options = {
            "top_k": top_k,
            "model": self._model,
            "version": self._version,
            "priority": self._priority,
        }
        if self._on_timing is None:
            return self._client.classify_stream(files, **options)
        return self._client.classify_iter(files, on_timing=self._on_timing, **options)


def _files(items: Iterable[Item], sent: deque[tuple[Item, ImageError | None]]) -> Iterator[bytes]:
    """Yield the file of each item, and note the item in ``sent``.

    For an item that cannot be read an empty image is sent. It keeps its place in the stream, so that
    the bound on the images in flight also holds for such items.
    """
    for item in items:
        error, data = None, b""
        try:
            data = item.read()
        except ImageError as problem:
            error = problem.with_traceback(None)
        sent.append((item, error))
        yield data
