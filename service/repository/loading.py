"""Loads versions: reads and verifies their files, makes sessions, and checks and warms up each session.

Everything here is slow and meant for a thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from service.errors import ModelError, ProviderError
from service.repository.folder import MANIFEST_NAME, MODEL_NAME, UNREADABLE, read, scan
from service.repository.manifest import LIMIT_BYTES, Manifest, parse
from service.runtime.model import ModelFile, OnnxModel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from service.config import ServerConfig
    from service.repository.folder import Contents, FoundVersion

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A version whose files were read and verified, not yet loaded."""

    file: ModelFile
    manifest: Manifest | None


@dataclass(frozen=True)
class Refusal:
    """A wanted version that cannot be served, and why."""

    found: FoundVersion
    reason: str

    def __str__(self) -> str:
        return f"{self.found.name} version {self.found.version}: {self.reason}"


@dataclass(frozen=True)
class Loaded:
    """The wanted versions, loaded or refused."""

    models: Sequence[tuple[OnnxModel, ...]]
    """The sessions of each good version, by name and version."""
    refusals: Sequence[Refusal] = ()
    contents: Contents = field(default_factory=dict)
    """The scan of the folder."""


def load_models(config: ServerConfig, served: Mapping[str, Collection[int]] | None = None) -> Loaded:
    """Load every wanted version; a refused version does not affect the others.

    Where the newest N versions of a model are wanted and one of them is refused, the next older one takes its
    place.

    Args:
        config: where the models are, which versions are wanted, what runs them.
        served: the versions that the other workers serve, by model: wanted instead of those of ``config``,
            where they exist. A model that is missing or has no version is skipped.

    Raises:
        ModelError: the folder is missing or has no model, or a version that was asked for does not exist; or,
            with ``strict_models`` and without ``served``, a version is refused.
        ProviderError: the provider that was asked for is not active.
    """
    contents = scan(config.models)
    if served is None:
        _check_existence(contents, config)
    loaded: list[tuple[OnnxModel, ...]] = []
    refusals: list[Refusal] = []
    for name, there in contents.items():
        wanted = {UNREADABLE} if UNREADABLE in there else _wanted(name, there, config, served)
        older = config.versions.of(name).fallbacks(wanted, there) if served is None else []
        answering: list[tuple[OnnxModel, ...]] = []
        for version in [*sorted(wanted, reverse=True), *older]:
            if len(answering) == len(wanted):
                break
            outcome = _try(there[version], config, is_strict=config.strict_models and served is None)
            if isinstance(outcome, Refusal):
                refusals.append(outcome)
            else:
                answering.append(outcome)
        loaded.extend(reversed(answering))
    return Loaded(loaded, refusals, contents)


def _try(found: FoundVersion, config: ServerConfig, *, is_strict: bool) -> tuple[OnnxModel, ...] | Refusal:
    _log.debug("model loading", model=found.name, version=found.version)  # the last line of a load that hangs
    try:
        return load(found, config)
    except ModelError as error:
        if is_strict:
            raise ModelError(f"{error}; without --strict-models the others would be served") from error
        return Refusal(found, str(error))
    except ProviderError:
        raise
    except Exception as error:  # a bug refuses one version, no more
        if is_strict:
            raise
        _log.exception("model failed to load", model=found.name, version=found.version)
        return Refusal(found, f"it failed to load: {type(error).__name__}; see the server's log")


def load(found: FoundVersion, config: ServerConfig) -> tuple[OnnxModel, ...]:
    """Verify a version and start its sessions; raises as ``start`` does."""
    return start(verify(found, config), config)


def verify(found: FoundVersion, config: ServerConfig) -> Candidate:
    """Read a version's files, each once, and check the model file against the manifest.

    Raises ModelError if a file cannot be read or does not match, or a required manifest is missing.
    """
    if found.read_error:
        raise ModelError(found.read_error)
    manifest = None
    path = found.folder / MANIFEST_NAME
    # As of the scan: a manifest that appeared since belongs to the next stamp.
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
    """Make the sessions of a version, check each against the manifest, and warm it up.

    Raises:
        ModelError: the model is damaged, not one of our image classifiers, not as its manifest says, or fails
            its warm-up.
        ProviderError: the provider that was asked for is not active.
    """
    return tuple(_start_session(candidate, config) for _ in range(config.instances))


def _start_session(candidate: Candidate, config: ServerConfig) -> OnnxModel:
    model = OnnxModel(candidate.file, config.provider, config.threads)
    if candidate.manifest is not None:
        candidate.manifest.check_model(model.info)
        candidate.manifest.golden.check(model)
    model.warm_up(config.max_batch)
    return model


def _check_existence(contents: Contents, config: ServerConfig) -> None:
    """Check that every model and version that ``--versions`` names exists."""
    for name in config.versions.by_model:
        if name not in contents:
            raise ModelError(
                f"--versions names the model {name!r}, which is not in {config.models}; there are: "
                f"{', '.join(contents)}"
            )
    for name, there in contents.items():
        missing = config.versions.of(name).missing(there)
        if missing and UNREADABLE not in there:
            raise ModelError(
                f"--versions asks for version {min(missing)} of {name}, which is not in {config.models}; it "
                f"has: {', '.join(map(str, sorted(there)))}"
            )


def _wanted(
    name: str,
    there: Mapping[int, FoundVersion],
    config: ServerConfig,
    served: Mapping[str, Collection[int]] | None,
) -> set[int]:
    policy = config.versions.of(name)
    if served is None:
        return policy.choose(there)
    asked = set(served.get(name, ()))
    # If the files of all are gone, the others answer from memory: fall back to the policy.
    return asked & set(there) or (policy.choose(there) if asked else set())
