"""What ``make bench-int8`` measures: float32 and int8 on one core, on the CPU and OpenVINO providers.

The models of exported_models/ go in; a table and benchmarks/results/int8.json come out: images/s by model,
provider and batch size, measured in turns in one run, each as a multiple of float32 on the CPU provider in
the same turn; and with a data set, what each answers on the test split. Knows nothing of the server.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks import machine
from benchmarks.ceiling import MODELS, random_images
from service.errors import ModelError, ProviderError
from service.model import ModelFile, OnnxModel
from service.providers import ProviderConfig
from training.dataset import DataSet
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from training.dataset import Split

BATCHES = (64, 1)
ROUNDS = 15
SECONDS = 0.3
GOAL = 2.5
"""int8 on the OpenVINO provider by float32 on the CPU provider, batches of 64."""
_FORMS = ("", "_int8", "_int8_openvino")
_PROVIDERS = ("cpu", "openvino")
_BASE = "float32, cpu"


class Rate(NamedTuple):
    """What one turn reached."""

    images_per_s: float
    images_per_cpu_s: float
    """By the CPU time of the process: others on the same core change it little."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, keep; returns 1 where a model is missing or does not load."""
    options = _parse(arguments)
    try:
        with machine.on_cores({min(os.sched_getaffinity(0))}):
            facts = measure(options.model, options.rounds, options.seconds)
            facts["answers"] = _answers(options.model, options.data)
    except (ModelError, OSError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(facts, indent=2) + "\n")
    _print(facts)
    return 0


def measure(name: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure every form of a model on every provider that there is, in turns.

    Raises:
        ModelError: a model does not load.
        OSError: a model is missing.
    """
    models = load(name)
    rates: dict[str, dict[str, list[Rate]]] = {row: {} for row in models}
    for batch in BATCHES:
        images = random_images(batch)
        for model in models.values():
            model.run(images)
        for _ in range(rounds):
            for row, model in models.items():
                rates[row].setdefault(str(batch), []).append(_rate(model, images, seconds))
    base = rates[_BASE]
    return machine.facts() | {
        "model": name,
        "seconds_a_turn": seconds,
        "bytes": _sizes(name),
        "figures": {
            row: {batch: _figures(turns, base[batch]) for batch, turns in by_batch.items()}
            for row, by_batch in rates.items()
        },
        "goal": {"at_least": GOAL, "of": "int8_openvino, openvino", "batch": BATCHES[0]},
    }


def load(name: str) -> dict[str, OnnxModel]:
    """Load every form on every provider that is installed, on one thread."""
    found: dict[str, OnnxModel] = {}
    for form in _FORMS:
        path = _path(name, form)
        file = ModelFile(path, name + form, 1, path.read_bytes())
        for provider in _PROVIDERS:
            try:
                model = OnnxModel(file, ProviderConfig(name=provider), threads=1)
            except ProviderError:
                if provider == "cpu":
                    raise
                continue  # this onnxruntime is another build: see make bench-int8
            found[f"{form.lstrip('_') or 'float32'}, {provider}"] = model
    return found


def _path(name: str, form: str) -> Path:
    return MODELS / (name + form) / "1" / "model.onnx"


def _sizes(name: str) -> dict[str, int]:
    return {form.lstrip("_") or "float32": _path(name, form).stat().st_size for form in _FORMS}


def _rate(model: OnnxModel, images: npt.NDArray[np.uint8], seconds: float) -> Rate:
    runs, began, cpu_began = 0, time.perf_counter(), time.process_time()
    while time.process_time() - cpu_began < seconds:
        model.run(images)
        runs += 1
    n = runs * len(images)
    return Rate(n / (time.perf_counter() - began), n / (time.process_time() - cpu_began))


def _figures(turns: Sequence[Rate], base: Sequence[Rate]) -> dict[str, Any]:
    ratios = [turn.images_per_cpu_s / other.images_per_cpu_s for turn, other in zip(turns, base, strict=True)]
    return {
        "n": len(turns),
        "images_per_s": _quartiles([turn.images_per_s for turn in turns]),
        "images_per_cpu_s": _quartiles([turn.images_per_cpu_s for turn in turns]),
        "times_float32_on_cpu": _quartiles(ratios),
    }


def _quartiles(values: Sequence[float]) -> list[float]:
    """Return lower quartile, median, upper quartile."""
    return [round(value, 4) for value in statistics.quantiles(values, n=4, method="inclusive")]


def _answers(name: str, data: Path | None) -> dict[str, Any] | None:
    """Say how good each is on the test split, and how often it agrees with float32 on the CPU provider."""
    if data is None:
        return None
    source = DataSet(data)
    test = source.split("test")
    found = {row: _predict_all(model, test) for row, model in load(name).items()}
    expected = found[_BASE]
    return {
        "images": f"{len(test)}: test split, {source.description()}",
        "rows": {
            row: {
                "top1": float((answers.argmax(axis=1) == test.labels).mean()),
                "same_top1": float((answers.argmax(axis=1) == expected.argmax(axis=1)).mean()),
                "mean_difference": float(np.abs(answers - expected).mean()),
            }
            for row, answers in found.items()
        },
    }


def _predict_all(model: OnnxModel, test: Split) -> npt.NDArray[np.float32]:
    return np.concatenate([model.run(test.images[start : start + 500]) for start in range(0, len(test), 500)])


def _print(facts: dict[str, Any]) -> None:
    print(f"{facts['model']} on one core of {facts['machine']}, {_versions(facts)}")
    print("median (quartiles) of n turns; times: as often as float32 on the CPU provider, by CPU time")
    print(f"{'':26}{'batch':>6}{'n':>4}{'images/s':>26}{'images/CPU s':>26}{'times':>20}")
    for batch in map(str, BATCHES):
        for row, by_batch in facts["figures"].items():
            one = by_batch[batch]
            rates = "".join(f"{_cell(one[key], ',.0f'):>26}" for key in ("images_per_s", "images_per_cpu_s"))
            print(f"{row:26}{batch:>6}{one['n']:>4}{rates}{_cell(one['times_float32_on_cpu'], '.2f'):>20}")
    goal = facts["goal"]
    if goal["of"] in facts["figures"]:
        reached = facts["figures"][goal["of"]][str(goal["batch"])]["times_float32_on_cpu"][1]
        verdict = "met" if reached >= goal["at_least"] else "missed"
        print(f"goal: {goal['of']} at least {goal['at_least']} times float32 on the CPU provider: {verdict}")
    if facts["answers"]:
        print(f"answers to {facts['answers']['images']}")
        for row, one in facts["answers"]["rows"].items():
            same = f"the same of {one['same_top1']:.2%}, mean difference {one['mean_difference']:.1e}"
            print(f"{row:26}  top-1 {one['top1']:.2%}, {same}")


def _versions(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in facts["versions"].items() if "onnx" in name)


def _cell(quartiles: Sequence[float], form: str) -> str:
    low, middle, high = (f"{value:{form}}" for value in quartiles)
    return f"{middle} ({low}-{high})"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8", description=__doc__)
    data = os.environ.get("CIFAR10NET_DATA")
    results = MODELS.parent / "benchmarks" / "results" / "int8.json"
    parser.add_argument(
        "--model", default="cifar10net", help="name in exported_models/, with its twins beside"
    )
    parser.add_argument("--data", type=Path, default=Path(data) if data else None, help="for accuracy")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="CPU time of a turn")
    parser.add_argument("--out", type=Path, default=results)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
