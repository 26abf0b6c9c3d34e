"""Checks whether the models that were loaded are enough to serve, and chooses the default model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Collection

    from service.config import ServerConfig
    from service.repository.index import OtherWorkers
    from service.repository.loading import Loaded

_PREFERRED = "cifar10net"
_MOST_REASONS = 5


def check_start(loaded: Loaded, config: ServerConfig, other_workers: OtherWorkers | None) -> str:
    """Raise ModelError unless the default model, ``require_models`` and at least one model answer.

    A model that the other workers do not serve is not required here.

    Returns:
        The default model: the configured one, else ``cifar10net`` if it is in the repository, else the first
        by name that answers.
    """
    answering = {sessions[0].info.name for sessions in loaded.models}
    if not answering and (other_workers is None or other_workers.answering):
        reasons = [str(refusal) for refusal in loaded.refusals[:_MOST_REASONS]]
        if other_workers is not None:
            gone = ", ".join(sorted(other_workers.answering))
            reasons.append(f"the other processes answer with {gone}, whose files are gone or were refused")
        raise ModelError(f"no model of {config.models} answers: {'; '.join(reasons)}")
    if other_workers is not None:
        default = other_workers.default
    elif config.default_model:
        default = config.default_model
    else:
        default = _PREFERRED if _PREFERRED in {*answering, *loaded.contents} else min(answering)
    required = {name: f"the model {name!r}, which --require-model names," for name in config.require_models}
    required[default] = f"the default model {default!r}"
    for name, which in required.items():
        is_excused = other_workers is not None and name not in other_workers.answering
        if name not in answering and not is_excused:
            raise ModelError(f"{which} {_why_missing(name, answering, loaded)}")
    return default


def _why_missing(name: str, answering: Collection[str], loaded: Loaded) -> str:
    reasons = [refusal.reason for refusal in loaded.refusals if refusal.found.name == name]
    if reasons:
        return (
            f"does not answer: {'; '.join(reasons)}. Repair it, or start without it: another "
            f"--default-model, no --require-model; these answer: {', '.join(sorted(answering)) or 'none'}"
        )
    return f"is not in the repository, which has: {', '.join(sorted({*loaded.contents, *answering}))}"
