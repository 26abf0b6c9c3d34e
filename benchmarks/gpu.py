"""``make bench-gpu``: images/s of the model alone on one execution provider, by batch size.

Each batch size is measured with a plain run and with IO binding, from pixels in the host's memory to
probabilities there, beside the limit that copying alone sets. Prints a table and writes
benchmarks/results/provider-<name>.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from benchmarks import machine
from benchmarks.ceiling import MODELS, random_images
from cifar10net.protocol import IMAGE_BYTES
from service.errors import StartupError
from service.runtime.model import ModelFile, OnnxModel
from service.runtime.providers import ON_DEVICE, PROVIDERS, ProviderConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
ROUNDS = 5
SECONDS = 0.5
MULTIPLY_ADDS = 3_920_000  # of CIFAR10Net an image, as its summary counts them


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; return 1 if the provider cannot be used."""
    options = _parse(arguments)
    try:
        facts = measure(options.provider, options.threads, options.seconds)
    except StartupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    path = MODELS.parent / "benchmarks" / "results" / f"provider-{options.provider}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts, indent=2) + "\n")
    _print(facts)
    return 0


def measure(provider: str, threads: int, seconds: float) -> dict[str, Any]:
    """Measure every batch size, and copying alone, for ``seconds`` a round.

    Raises:
        StartupError: the provider cannot be used, or answers differently with IO binding.
    """
    path = MODELS / "cifar10net" / "1" / "model.onnx"
    file = ModelFile(path, "cifar10net", 1, path.read_bytes())
    model = OnnxModel(file, ProviderConfig(name=provider), threads)
    model.warm_up(1)
    device = "cuda" if provider in ON_DEVICE else "cpu"
    return machine.facts() | {
        "gpu": machine.gpu(),
        "provider": model.info.provider,
        "threads": threads,
        "rounds": ROUNDS,
        "seconds_a_round": seconds,
        "multiply_adds_an_image": MULTIPLY_ADDS,
        "copy_bytes_per_s": [copy_bytes_per_s(device, seconds) for _ in range(ROUNDS)],
        "images_per_s": _images_per_s(model, device, seconds),
    }


def copy_bytes_per_s(device: str, seconds: float) -> float:
    """Copy 4,096 images from the host to a device, over and over; "cpu" is the host itself."""
    images = random_images(BATCHES[-1])
    value = onnxruntime.OrtValue.ortvalue_from_numpy(images.copy(), device, 0)
    return _per_s(lambda: value.update_inplace(images), seconds) * images.nbytes


def _images_per_s(model: OnnxModel, device: str, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Return images per second, plain and with IO binding, one value a round; the two alternate."""
    found: dict[str, dict[str, list[float]]] = {"plain": {}, "bound": {}}
    for batch in BATCHES:
        images = random_images(batch)
        ways: dict[str, Callable[[], npt.NDArray[np.float32]]] = {
            "plain": partial(model.run, images),
            "bound": bound(model, images, device),
        }
        if not np.allclose(ways["plain"](), ways["bound"](), atol=1e-4):
            raise StartupError(f"IO binding gives other probabilities than a plain run of {batch} images")
        for _ in range(ROUNDS):
            for name, run in ways.items():
                found[name].setdefault(str(batch), []).append(_per_s(run, seconds) * batch)
    return found


def bound(
    model: OnnxModel, images: npt.NDArray[np.uint8], device: str
) -> Callable[[], npt.NDArray[np.float32]]:
    """Make a function that copies images into memory bound to the session, runs, and fetches the answer."""
    session = model._session  # noqa: SLF001 - the server has no use for IO binding so far
    binding = session.io_binding()
    pixels = onnxruntime.OrtValue.ortvalue_from_numpy(images.copy(), device, 0)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, pixels)
    binding.bind_output(session.get_outputs()[0].name, device, 0)

    def run() -> npt.NDArray[np.float32]:
        pixels.update_inplace(images)
        session.run_with_iobinding(binding)
        probabilities: npt.NDArray[np.float32] = binding.copy_outputs_to_cpu()[0]
        return probabilities

    return run


def _per_s(work: Callable[[], object], seconds: float) -> float:
    work()
    times, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        work()
        times += 1
    return times / (time.perf_counter() - began)


def _print(facts: dict[str, Any]) -> None:
    copy = statistics.median(facts["copy_bytes_per_s"])
    print(
        f"{facts['provider']} on {facts['gpu'] or facts['machine']}, ONNX Runtime {onnxruntime.__version__}"
    )
    print(f"median (smallest to largest) of n = {ROUNDS} rounds of {facts['seconds_a_round']} s")
    print(f"copying alone: {copy / 1e9:.2f} GB/s, {copy / IMAGE_BYTES:,.0f} images/s")
    print(
        f"{'batch':>6}{'plain run, images/s':>34}{'IO binding, images/s':>34}{'of copying':>12}{'GFLOP/s':>9}"
    )
    for batch, plain in facts["images_per_s"]["plain"].items():
        with_binding = facts["images_per_s"]["bound"][batch]
        best = max(statistics.median(plain), statistics.median(with_binding))
        share, flops = best * IMAGE_BYTES / copy, best * MULTIPLY_ADDS * 2
        print(f"{batch:>6}{_cell(plain):>34}{_cell(with_binding):>34}{share:>12.2%}{flops / 1e9:>9,.1f}")


def _cell(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--provider", choices=PROVIDERS, default="cuda")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the CPU")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="a round of a batch size")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
