"""Which execution providers are usable: each runs a tiny model.

A provider that ONNX Runtime lists but silently replaces by another is not usable. A second tiny model shows
whether a provider adds int8 products exactly, whatever the CPU is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.doctor.finding import Finding, FindingState
from service.doctor.installation import has_runtime
from service.errors import ModelError, ProviderError
from service.runtime.providers import PROVIDERS, ProviderConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTION = "execution providers"


def providers(asked: str | None) -> Iterator[Finding]:
    """Try each provider; an unusable one is bad only if it was asked for."""
    for name in PROVIDERS:
        refused = FindingState.BAD if name == asked else FindingState.ABSENT
        if not has_runtime():
            advice = f"to use it: pip install 'cifar10net[{PROVIDERS[name].extra}]'"
            yield Finding(SECTION, name, refused, "ONNX Runtime is not installed", advice)
            continue
        from service.runtime.model import saturates, try_provider, why_saturating  # noqa: PLC0415 - want NumPy

        provider = ProviderConfig(name=name)
        try:
            active = try_provider(provider)
        except (ModelError, ProviderError) as error:
            yield Finding(SECTION, name, refused, "not usable", str(error))
            continue
        sums = "adds int8 products exactly"
        if saturates(provider):
            sums = f"int8 models need 7-bit weights, because {why_saturating()}"
        yield Finding(SECTION, name, value=f"usable: {active} is active; {sums}")
