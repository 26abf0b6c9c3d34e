"""From a version's folder to sessions that have proved themselves.

In: what lies in the repository's folder. Out: the sessions of a version, made from bytes that were verified
first, each of which has answered its warm-up. Slow: for threads. Knows nothing of who asks them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from service.errors import ModelError, ProviderError
from service.repository.folder import ALL_OF_IT, MANIFEST_NAME, MODEL_NAME, look, read
from service.repository.manifest import LIMIT_BYTES, Manifest, parse
from service.runtime.model import ModelFile, OnnxModel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from service.config import ServerConfig
    from service.repository.folder import Contents, FoundVersion

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A version that was read and verified, and is not loaded."""

    file: ModelFile
    manifest: Manifest | None


@dataclass(frozen=True)
class Refusal:
    """A version that was to answer and cannot."""

    found: FoundVersion
    reason: str

    def __str__(self) -> str:
        return f"{self.found.name} version {self.found.version}: {self.reason}"


@dataclass(frozen=True)
class Loaded:
    """What became of the versions that were wanted at the start."""

    models: Sequence[tuple[OnnxModel, ...]]
    """The sessions of each version that proved itself, by name and number."""
    refusals: Sequence[Refusal] = ()
    contents: Contents = field(default_factory=dict)
    """The folder as it was then."""


def load_models(config: ServerConfig, like: Mapping[str, Collection[int]] | None = None) -> Loaded:
    """Load and warm up every version that is wanted; one that is refused leaves the others as they are.

    Where the newest N versions of a model are wanted and one of them is refused, the next older one is tried
    in its place, as a server that runs goes on with what it has.

    Args:
        config: where the models are, which versions of them are wanted, what runs them.
        like: the versions that the other workers answer with, by model: wanted instead, where they are
            there. A model that is not named, or has none, is left out.

    Raises:
        ModelError: the folder is missing or has no model, or a version that is asked for is not there; with
            ``strict_models`` and without ``like``, any version is refused.
        ProviderError: the provider that was asked for is not active.
    """
    contents = look(config.models)
    if like is None:
        _check_all_there(contents, config)
    loaded: list[tuple[OnnxModel, ...]] = []
    refusals: list[Refusal] = []
    for name, there in contents.items():
        wanted = {ALL_OF_IT} if ALL_OF_IT in there else _wanted(name, there, config, like)
        older = config.versions.of(name).fallbacks(wanted, there) if like is None else []
        answering: list[tuple[OnnxModel, ...]] = []
        for version in [*sorted(wanted, reverse=True), *older]:
            if len(answering) == len(wanted):
                break
            outcome = _try(there[version], config, is_strict=config.strict_models and like is None)
            if isinstance(outcome, Refusal):
                refusals.append(outcome)
            else:
                answering.append(outcome)
        loaded.extend(reversed(answering))
    return Loaded(loaded, refusals, contents)


def _try(found: FoundVersion, config: ServerConfig, *, is_strict: bool) -> tuple[OnnxModel, ...] | Refusal:
    _log.debug("model loading", model=found.name, version=found.version)  # of one that hangs, the last word
    try:
        return load(found, config)
    except ModelError as error:
        if is_strict:
            raise ModelError(f"{error}; without --strict-models the others would be served") from error
        return Refusal(found, str(error))
    except ProviderError:
        raise
    except Exception as error:  # a fault of ours refuses one version, and no more
        if is_strict:
            raise
        _log.exception("model failed to load", model=found.name, version=found.version)
        return Refusal(found, f"it failed to load: {type(error).__name__}; the server's log says more")


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
    if found.trouble:
        raise ModelError(found.trouble)
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
        if missing and ALL_OF_IT not in there:
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
