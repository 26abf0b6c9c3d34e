"""Checks that the models of a repository match their manifests and give their golden answers.

Each version is loaded as a server loads it: digest, signature, labels, golden answers, warm-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.doctor.finding import Finding, FindingState
from service.doctor.installation import has_runtime
from service.errors import ModelError, ProviderError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.repository.folder import FoundVersion

SECTION = "models"
_DIGITS = 12  # of a digest that are printed


def models(folder: Path, provider: str) -> Iterator[Finding]:
    """Verify every version in a repository, whether a server would serve it or not.

    Args:
        folder: the repository.
        provider: the execution provider that runs the models.
    """
    if not has_runtime():
        yield _bad(
            str(folder), "not verified", "models are run to verify them: pip install 'cifar10net[cpu]'"
        )
        return
    from service.repository.folder import scan  # noqa: PLC0415 - needs NumPy, which a client lacks

    try:
        contents = scan(folder)
    except ModelError as error:
        yield _bad(str(folder), "no repository", str(error))
        return
    for versions in contents.values():
        for found in versions.values():
            yield _version(found, provider)


def _version(found: FoundVersion, provider: str) -> Finding:
    from service.repository.folder import MANIFEST_NAME, MODEL_NAME  # noqa: PLC0415 - as above
    from service.repository.local_runner import LocalRunner  # noqa: PLC0415

    name = f"{found.name} {found.version}"
    try:
        runner = LocalRunner(found, provider=provider)
    except (ModelError, ProviderError) as error:
        return _bad(name, "refused", str(error))
    info = runner.info
    runner.close()
    digest = f"SHA-256 {(info.sha256 or '')[:_DIGITS]}…"
    if runner.manifest is None:
        path = found.folder / MODEL_NAME
        advice = f"it has no {MANIFEST_NAME}: cifar10net-train manifest {path} writes one"
        return _note(
            name,
            f"loads and answers, {digest}, but nothing vouches for it",
            "; ".join(filter(None, (advice, info.warning))),
        )
    golden = len(runner.manifest.golden.images)
    checked = f"{digest}, signature, {len(info.labels)} labels, {golden} golden answers"
    if info.warning:
        return _note(name, f"verified, but it saturates: {checked}", info.warning)
    return Finding(section=SECTION, name=name, value=f"verified: {checked}")


def _note(name: str, value: str, advice: str) -> Finding:
    return Finding(section=SECTION, name=name, state=FindingState.NOTE, value=value, advice=advice)


def _bad(name: str, value: str, advice: str) -> Finding:
    return Finding(section=SECTION, name=name, state=FindingState.BAD, value=value, advice=advice)
