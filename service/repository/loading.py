"""From a version's folder to sessions that have proved themselves.

In: what lies in the repository's folder. Out: the sessions of a version, made from bytes that were verified
first, each of which has answered its warm-up. Slow: for threads. Knows nothing of who asks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import ModelError
from service.model import ModelFile, OnnxModel
from service.repository.folder import MANIFEST_NAME, MODEL_NAME, look, read
from service.repository.manifest import LIMIT_BYTES, Manifest, parse

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from service.config import ServerConfig
    from service.repository.folder import Contents, FoundVersion


@dataclass(frozen=True)
class Candidate:
    """A version that was read and verified, and is not loaded."""

    file: ModelFile
    manifest: Manifest | None


def load_models(
    config: ServerConfig, like: Mapping[str, Collection[int]] | None = None
) -> list[tuple[OnnxModel, ...]]:
    """Load and warm up every version that is wanted.

    Args:
        config: where the models are, which versions of them are wanted, what runs them.
        like: the versions that the other workers answer with, by model: wanted instead, where they are
            there. A model that is not named, or has none, is left out.

    Returns:
        The sessions of each version, by name and number.

    Raises:
        ModelError: the folder is missing or has no model, a version that is asked for is not there, or one
            is damaged or fails its warm-up.
        ProviderError: the provider that was asked for is not active.
    """
    contents = look(config.models)
    if like is None:
        _check_all_there(contents, config)
    return [
        load(there[version], config)
        for name, there in contents.items()
        for version in sorted(_wanted(name, there, config, like))
    ]


def load(found: FoundVersion, config: ServerConfig) -> tuple[OnnxModel, ...]:
    """Load a version.

    Returns:
        Its sessions.

    Raises:
        ModelError: it is damaged, not what its manifest says, no image classifier of ours, or fails its
            warm-up.
        ProviderError: the provider that was asked for is not active.
    """
    return start(verify(found, config), config)


def verify(found: FoundVersion, config: ServerConfig) -> Candidate:
    """Read a version's files, each once, and check the model's against the manifest.

    Raises:
        ModelError: a file cannot be read, is not what the manifest says, or the manifest is missing and
            required.
    """
    manifest = None
    path = found.folder / MANIFEST_NAME
    # Named by the stamp, not by another look: what appears meanwhile belongs to the next stamp.
    if found.has_manifest:
        manifest = parse(read(path, config.models, LIMIT_BYTES), path)
    elif config.require_manifest:
        raise ModelError(
            f"{found.folder} has no {MANIFEST_NAME}, which --require-manifest asks for; write one with "
            f"cifar10net-train manifest {found.folder / MODEL_NAME}"
        )
    path = found.folder / MODEL_NAME
    content = read(path, config.models, config.max_model_mib << 20)
    file = ModelFile(path, found.name, found.version, content, is_verified=manifest is not None)
    if manifest is not None:
        manifest.check_file(file)
    return Candidate(file, manifest)


def start(candidate: Candidate, config: ServerConfig) -> tuple[OnnxModel, ...]:
    """Make the sessions of a version, and have each prove itself.

    Raises:
        ModelError: it is damaged, not what its manifest says, no image classifier of ours, or fails its
            warm-up.
        ProviderError: the provider that was asked for is not active.
    """
    return tuple(
        _prove(OnnxModel(candidate.file, config.provider, config.threads), candidate, config)
        for _ in range(config.instances)
    )


def _prove(model: OnnxModel, candidate: Candidate, config: ServerConfig) -> OnnxModel:
    manifest = candidate.manifest
    if manifest is not None:
        manifest.check_model(model.info)
        manifest.golden.check(model)
    model.warm_up(config.max_batch)
    return model


def _check_all_there(contents: Contents, config: ServerConfig) -> None:
    """Check that every model and version that is asked for by name or number is there."""
    for name in config.versions.by_model:
        if name not in contents:
            raise ModelError(
                f"--versions names the model {name!r}, which is not in {config.models}; there are: "
                f"{', '.join(contents)}"
            )
    for name, there in contents.items():
        missing = config.versions.of(name).missing(there)
        if missing:
            raise ModelError(
                f"--versions asks for version {min(missing)} of {name}, which is not in {config.models}; it "
                f"has: {', '.join(map(str, sorted(there)))}"
            )


def _wanted(
    name: str,
    there: Mapping[int, FoundVersion],
    config: ServerConfig,
    like: Mapping[str, Collection[int]] | None,
) -> set[int]:
    policy = config.versions.of(name)
    if like is None:
        return policy.choose(there)
    asked = set(like.get(name, ()))
    # Files that are gone: the others answer from memory, which this process does not have.
    return asked & set(there) or (policy.choose(there) if asked else set())
