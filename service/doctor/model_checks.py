"""Whether the models of a repository are what their manifests say, and answer as they should.

In: the repository's folder and an execution provider. Out: a finding a version. What is checked is what a
server checks before it serves a version: digest, signature, labels, golden answers, warm-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.config import ServerConfig
from service.doctor.finding import Finding, Verdict
from service.doctor.installation import has_runtime
from service.errors import ModelError, ProviderError
from service.runtime.providers import ProviderConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.repository.folder import FoundVersion

SECTION = "models"
_DIGITS = 12  # of a digest, for people


def models(folder: Path, provider: str) -> Iterator[Finding]:
    """Verify every version in a repository, whether a server would serve it or not."""
    if not has_runtime():
        yield _bad(
            str(folder), "not verified", "models are run to verify them: pip install 'cifar10net[cpu]'"
        )
        return
    from service.repository.folder import scan  # noqa: PLC0415 - wants NumPy, which a client lacks

    try:
        contents = scan(folder)
    except ModelError as error:
        yield _bad(str(folder), "no repository", str(error))
        return
    config = ServerConfig(models=folder, provider=ProviderConfig(name=provider))
    for versions in contents.values():
        for found in versions.values():
            yield _version(found, config)


def _version(found: FoundVersion, config: ServerConfig) -> Finding:
    from service.repository.folder import MANIFEST_NAME  # noqa: PLC0415 - as above
    from service.repository.loading import start, verify  # noqa: PLC0415

    name = f"{found.name} {found.version}"
    try:
        candidate = verify(found, config)
        (model, *_) = start(candidate, config)
    except (ModelError, ProviderError) as error:
        return _bad(name, "refused", str(error))
    digest = f"SHA-256 {candidate.file.sha256[:_DIGITS]}…"
    if candidate.manifest is None:
        advice = f"it has no {MANIFEST_NAME}: cifar10net-train manifest {candidate.file.path} writes one"
        return Finding(
            section=SECTION,
            name=name,
            state=Verdict.NOTE,
            value=f"loads and answers, {digest}, but nothing vouches for it",
            advice="; ".join(filter(None, (advice, model.info.caution))),
        )
    golden = len(candidate.manifest.golden.images)
    checked = f"{digest}, signature, {len(model.info.labels)} labels, {golden} golden answers"
    if model.info.caution:
        return Finding(
            section=SECTION,
            name=name,
            state=Verdict.NOTE,
            value=f"verified, but it saturates: {checked}",
            advice=model.info.caution,
        )
    return Finding(section=SECTION, name=name, value=f"verified: {checked}")


def _bad(name: str, value: str, advice: str) -> Finding:
    return Finding(section=SECTION, name=name, state=Verdict.BAD, value=value, advice=advice)
