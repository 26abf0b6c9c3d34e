"""Which execution providers are really usable: a tiny model is run on each.

In: the provider that is asked for, if one is. Out: findings. A provider that ONNX Runtime only lists, or
replaces by another in silence, does not count as usable. Of a usable one, a second tiny model tells whether
it adds products of int8 exactly, which is found by asking it and not by the CPU's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.doctor.finding import Finding, State
from service.doctor.installation import has_runtime
from service.errors import ModelError, ProviderError
from service.runtime.providers import PROVIDERS, ProviderConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTION = "execution providers"


def providers(asked: str | None) -> Iterator[Finding]:
    """Try each provider; one that is not usable is bad if it is the one that was asked for."""
    for name in PROVIDERS:
        refused = State.BAD if name == asked else State.ABSENT
        if not has_runtime():
            advice = f"to serve by it: pip install 'cifar10net[{PROVIDERS[name].extra}]'"
            yield _finding(name, "ONNX Runtime is not installed", refused, advice)
            continue
        from service.runtime.model import saturates, try_provider, why_saturating  # noqa: PLC0415 - want NumPy

        provider = ProviderConfig(name=name)
        try:
            active = try_provider(provider)
        except (ModelError, ProviderError) as error:
            yield _finding(name, "not usable", refused, str(error))
            continue
        sums = "adds int8 products exactly"
        if saturates(provider):
            sums = f"int8 models need 7-bit weights, because {why_saturating()}"
        yield _finding(name, f"usable: {active} is active; {sums}")


def _finding(name: str, value: str, state: State = State.OK, advice: str = "") -> Finding:
    return Finding(section=SECTION, name=name, state=state, value=value, advice=advice)
