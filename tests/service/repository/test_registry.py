"""Callers find the version they name, and it lives exactly as long as they use it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.errors import NotServingError, UnknownModelError
from service.repository.background_thread import BackgroundThread
from service.repository.registry import Registry
from tests.service.in_process import settle, until
from tests.service.repository.models import StandIn, served

if TYPE_CHECKING:
    from service.repository.served_model import ServedModel

IMAGES = np.zeros((1, 32, 32, 3), np.uint8)


def _registry(**models: list[int]) -> Registry:
    registry = Registry(BackgroundThread())
    registry.default = "net"
    for name, versions in models.items():
        registry.put(name, {version: served(StandIn(name, version)) for version in versions})
    return registry


def test_a_version_is_found_by_the_words_of_callers() -> None:
    registry = _registry(net=[9, 10], other=[1])

    found = {
        (name, version): (registry.get(name, version).info.name, registry.get(name, version).info.version)
        for name, version in (("", ""), ("net", ""), ("", "9"), ("net", "9"), ("other", ""), ("other", "1"))
    }

    assert found == {
        ("", ""): ("net", 10),
        ("net", ""): ("net", 10),
        ("", "9"): ("net", 9),
        ("net", "9"): ("net", 9),
        ("other", ""): ("other", 1),
        ("other", "1"): ("other", 1),
    }


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("lenet", "", "no model is called 'lenet'; there are: net, other"),
        ("net", "8", "model net has no version '8'; it has: 9, 10"),
        ("", "8", "model net has no version '8'; it has: 9, 10"),
        ("net", "09", "no version '09'"),
        ("net", "newest", "no version 'newest'"),
        ("x" * 1000, "", "no model is called 'x{100}'"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(name: str, version: str, message: str) -> None:
    with pytest.raises(UnknownModelError, match=message):
        _registry(net=[9, 10], other=[1]).get(name, version)


def test_without_its_default_model_the_others_are_named() -> None:
    registry = _registry(other=[1])

    with pytest.raises(UnknownModelError, match=r"the default model 'net' is not loaded; .*: other"):
        registry.get("", "")
    assert registry.get("other", "").info.name == "other"


def test_an_empty_registry_asks_to_wait() -> None:
    with pytest.raises(NotServingError, match="still loading"):
        Registry(BackgroundThread()).get("", "")


def test_the_list_begins_with_what_answers_who_names_nothing() -> None:
    infos = _registry(a=[1], net=[1, 3, 2]).infos()

    assert [(info.name, info.version) for info in infos] == [("net", 3), ("net", 2), ("net", 1), ("a", 1)]


def test_a_call_ends_on_the_version_it_began_with() -> None:
    async def main() -> None:
        registry = _registry()
        model = StandIn()
        old, new = served(model), served(StandIn(version=2))
        for each in (old, new):
            each.sessions.start()
        registry.put("net", {1: old})

        with registry.get("net", "") as first, registry.get("", "") as second:
            assert registry.put("net", {2: new}) == [old]
            await settle()
            assert first is second is old
            assert registry.get("net", "") is new
            with pytest.raises(UnknownModelError, match="it has: 2"):
                registry.get("net", "1")
            assert (await first.batcher.submit(IMAGES)).shape == (1, 2)
            assert registry.retiring == {old}
        assert not model.is_closed  # in this turn of the loop: its caller may look at what it got
        await settle()

        assert model.is_closed
        assert registry.retiring == set()
        with pytest.raises(NotServingError):
            old.batcher.submit(IMAGES)
        await registry.close()

    asyncio.run(main())


def test_a_version_that_nobody_uses_is_let_go_at_once_with_its_thread() -> None:
    async def main() -> None:
        registry = _registry()
        models = [StandIn(), StandIn()]
        model = served(*models)
        before = set(threading.enumerate())
        model.sessions.start()
        threads = set(threading.enumerate()) - before
        assert len(threads) == 2
        registry.put("net", {1: model})
        registry.put("net", {})
        await until(lambda: not any(thread.is_alive() for thread in threads))
        assert all(each.is_closed for each in models)

    asyncio.run(main())


def test_what_stays_in_the_registry_is_left_alone() -> None:
    async def main() -> None:
        registry = _registry()
        models = {version: StandIn(version=version) for version in (1, 2, 3)}
        versions = {version: served(model) for version, model in models.items()}
        registry.put("net", {1: versions[1], 2: versions[2]})

        gone = registry.put("net", {2: versions[2], 3: versions[3]})
        await settle()

        assert gone == [versions[1]]
        assert [model.is_closed for model in models.values()] == [True, False, False]

    asyncio.run(main())


@pytest.mark.parametrize("cache_mib", [0, 1])
def test_a_version_that_is_gone_is_gone_from_memory(cache_mib: int) -> None:
    """By counting references alone: what was there when the server began is frozen for the collector."""

    async def use(model: ServedModel) -> None:
        with model:
            await model.batcher.submit(IMAGES)
            hung_up = model.batcher.submit(IMAGES + 1)
            await asyncio.sleep(0)
            hung_up.cancel()

    async def main() -> None:
        registry = _registry()
        model = served(StandIn(), cache_mib=cache_mib)
        model.sessions.start()
        registry.put("net", {1: model})
        await use(model)
        registry.put("net", {})
        remembered = weakref.ref(model.sessions)
        del model
        await until(lambda: remembered() is None)

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()
