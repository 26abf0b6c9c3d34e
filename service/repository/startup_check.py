"""Whether what was loaded is enough to begin to serve, and which model is the default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Collection

    from service.config import ServerConfig
    from service.repository.loading import Loaded
    from service.repository.other_workers import Elsewhere

_PREFERRED = "cifar10net"
_MOST_REASONS = 5


def check_start(loaded: Loaded, config: ServerConfig, elsewhere: Elsewhere | None) -> str:
    """Check that the models that have to answer do.

    Those are the default model, those that ``require_models`` names, and at least one.

    Args:
        loaded: what was loaded, and what was refused.
        config: names the default model, or does not, and those that are required.
        elsewhere: what the other processes of the server answer with; a model that was unloaded there by hand
            need not answer here.

    Returns:
        The default model: the one that is asked for, else ours if it is in the repository, else the first
        that answers.

    Raises:
        ModelError: one that has to answer does not.
    """
    answering = {sessions[0].info.name for sessions in loaded.models}
    if not answering and (elsewhere is None or elsewhere.answering):
        reasons = [str(refusal) for refusal in loaded.refusals[:_MOST_REASONS]]
        if elsewhere is not None:
            gone = ", ".join(sorted(elsewhere.answering))
            reasons.append(f"the other processes answer with {gone}, whose files are gone or were refused")
        raise ModelError(f"no model of {config.models} answers: {'; '.join(reasons)}")
    default = _default(answering, loaded, config) if elsewhere is None else elsewhere.default
    required = {name: f"the model {name!r}, which --require-model names," for name in config.require_models}
    required[default] = f"the default model {default!r}"
    for name, which in required.items():
        # What answers nowhere else need not answer here: it was unloaded, or its files are gone.
        is_excused = elsewhere is not None and name not in elsewhere.answering
        if name not in answering and not is_excused:
            raise ModelError(f"{which} {_why_missing(name, answering, loaded)}")
    return default


def _default(answering: Collection[str], loaded: Loaded, config: ServerConfig) -> str:
    is_there = _PREFERRED in answering or _PREFERRED in loaded.contents
    return config.default_model or (_PREFERRED if is_there else min(answering))


def _why_missing(name: str, answering: Collection[str], loaded: Loaded) -> str:
    reasons = [refusal.reason for refusal in loaded.refusals if refusal.found.name == name]
    if reasons:
        return (
            f"does not answer: {'; '.join(reasons)}. Repair it, or start without it: another "
            f"--default-model, no --require-model; these answer: {', '.join(sorted(answering)) or 'none'}"
        )
    return f"is not in the repository, which has: {', '.join(sorted({*loaded.contents, *answering}))}"
