"""``make bench-int8``: float32 and int8 models on one core, on the CPU and OpenVINO providers.

Measures images/s by model, provider and batch size, in turns in one run, each as a multiple of float32 on the
CPU provider in the same turn; and with a data set, the accuracy on the test split. Where ONNX Runtime has an
option for exact sums of int8 products, rows "inexact" are without it: the difference is the cost of exactness
on this processor. Prints a table and writes a file in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import onnxruntime

from benchmarks import machine
from benchmarks.ceiling import MODELS, random_images
from service.errors import ModelError, ProviderError
from service.runtime.model import ModelFile, OnnxModel, saturates
from service.runtime.providers import ProviderConfig
from training.data.dataset import DataSet
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from training.data.dataset import Split

BATCHES = (64, 1)
ROUNDS = 15
SECONDS = 0.3
GOAL = 2.5
"""int8 on the OpenVINO provider by float32 on the CPU provider, batches of 64, on a CPU with VNNI."""
RESULTS = MODELS.parent / "benchmarks" / "results"
_FORMS = ("", "_int8", "_int8_openvino")
_PROVIDERS = ("cpu", "openvino")
_BASE = "float32, cpu"


class Runnable(Protocol):
    """A model to measure."""

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Classify a batch: uint8 (n, 32, 32, 3) to probabilities float32 (n, 10)."""


class Inexact:
    """A model on the CPU provider without exact sums: int8 products may saturate in the fastest kernels."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Classify a batch."""
        probabilities: npt.NDArray[np.float32] = self._session.run(None, {"images": images})[0]
        return probabilities


class Rate(NamedTuple):
    """Speed of one turn."""

    images_per_s: float
    images_per_cpu_s: float
    """By the CPU time of the process, which other work on the core affects little."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; return 1 if a model is missing or does not load."""
    options = _parse(arguments)
    try:
        with machine.on_cores({min(os.sched_getaffinity(0))}):
            models = load(options.models, options.model)
            facts = measure(models, options.rounds, options.seconds) | {
                "model": options.model,
                "bytes": _sizes(options.models, options.model),
                "answers": _answers(models, options.data),
            }
    except (ModelError, OSError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    out = options.out or RESULTS / ("int8-without-vnni.json" if facts["cpu_saturates"] else "int8.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(facts, indent=2) + "\n")
    _print(facts)
    return 0


def measure(models: dict[str, Runnable], rounds: int, seconds: float) -> dict[str, Any]:
    """Measure every form of a model on every available provider, in turns."""
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
        "seconds_a_turn": seconds,
        "cpu_saturates": saturates(ProviderConfig(), is_exact=False),
        "figures": {
            row: {batch: _figures(turns, base[batch]) for batch, turns in by_batch.items()}
            for row, by_batch in rates.items()
        },
        "goal": {"at_least": GOAL, "of": "int8_openvino, openvino", "batch": BATCHES[0]},
    }


def load(models: Path, name: str) -> dict[str, Runnable]:
    """Load every form on every provider that is installed, on one thread.

    Raises:
        ModelError: a model does not load.
        OSError: a model is missing.
    """
    found: dict[str, Runnable] = {}
    for form in _FORMS:
        path = _path(models, name, form)
        file = ModelFile(path, name + form, 1, path.read_bytes())
        for provider in _PROVIDERS:
            try:
                model = OnnxModel(file, ProviderConfig(name=provider), threads=1)
            except ProviderError:
                if provider == "cpu":
                    raise
                continue  # this onnxruntime is another build: see make bench-int8
            found[f"{form.lstrip('_') or 'float32'}, {provider}"] = model
        if form and "openvino" not in onnxruntime.get_available_providers()[0].lower():
            found[f"{form.lstrip('_')}, cpu, inexact"] = Inexact(path)
    return found


def _path(models: Path, name: str, form: str) -> Path:
    return models / (name + form) / "1" / "model.onnx"


def _sizes(models: Path, name: str) -> dict[str, int]:
    return {form.lstrip("_") or "float32": _path(models, name, form).stat().st_size for form in _FORMS}


def _rate(model: Runnable, images: npt.NDArray[np.uint8], seconds: float) -> Rate:
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


def _answers(models: dict[str, Runnable], data: Path | None) -> dict[str, Any] | None:
    """Return each model's accuracy on the test split, and its agreement with float32 on the CPU provider."""
    if data is None:
        return None
    source = DataSet(data)
    test = source.split("test")
    found = {row: _predict_all(model, test) for row, model in models.items()}
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


def _predict_all(model: Runnable, test: Split) -> npt.NDArray[np.float32]:
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
    if goal["of"] in facts["figures"] and not facts["cpu_saturates"]:
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
    parser.add_argument(
        "--models", type=Path, default=MODELS, help="repository of the model and its int8 forms"
    )
    parser.add_argument("--model", default="cifar10net", help="name of the model")
    parser.add_argument(
        "--data", type=Path, default=Path(data) if data else None, help="data set for accuracy"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="CPU time of a turn")
    parser.add_argument(
        "--out", type=Path, help="default: int8.json in benchmarks/results/, or int8-without-vnni.json"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
