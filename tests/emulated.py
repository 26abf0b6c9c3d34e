"""Prints the answers of an emulated processor; run by tests/test_processors.py.

Arguments: a repository of models, and one of a model whose products saturate. Prints a JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from service.config import ServerConfig
from service.repository import Loaded, load_models
from service.runtime import model as model_module
from service.runtime.model import saturates
from service.runtime.providers import ProviderConfig
from service.version_policy import VersionPolicies


def _look(root: str) -> Loaded:
    config = ServerConfig(models=Path(root), max_batch=1, versions=VersionPolicies.parse(["all"]))
    return load_models(config)


def _told(loaded: Loaded) -> dict[str, str]:
    """Return why each model failed its checks; empty if it passed."""
    proved = {sessions[0].info.name: sessions[0].info.warning for sessions in loaded.models}
    return proved | {refusal.found.name: refusal.reason for refusal in loaded.refusals}


def main() -> None:
    """Ask as a server does, and then as an ONNX Runtime that cannot be asked for exact sums."""
    models, saturating = sys.argv[1:]
    bright = np.full((1, 32, 32, 3), (230, 230, 250), np.uint8)
    exact = _look(saturating)
    told = {
        "models": _told(_look(models)),
        "exact": _told(exact),
        "answer": exact.models[0][0].run(bright)[0].tolist(),
        "saturates": saturates(ProviderConfig()),
    }
    model_module._EXACT_SINCE = (99, 0)
    saturates.cache_clear()
    told |= {
        "older models": _told(_look(models)),
        "older": _told(_look(saturating)),
        "older saturates": saturates(ProviderConfig()),
    }
    print(json.dumps(told))  # noqa: T201 - for the test


if __name__ == "__main__":
    main()
