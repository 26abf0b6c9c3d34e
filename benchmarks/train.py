"""``make bench-train``: seconds per epoch of our trainer and of a tutorial's training loop, in one run.

The trainers take turns of a few steps each. The time of an epoch is that of its number of steps, without
start and validation. CPU time, with that of a DataLoader's workers, is measured beside wall time, since other
work on the machine affects it less. Prints a table and writes benchmarks/results/train.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import machine, tutorial
from training.data.dataset import DataSet, Split
from training.errors import TrainingError
from training.learning.config import TrainConfig
from training.learning.data_parallel import ProcessGroup
from training.learning.learner import Learner

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

RESULTS = Path(__file__).parent / "results" / "train.json"
PLAIN = "plain"
OURS = ("float32", "bfloat16")
BATCH = 250
GOAL = 5.0
_CPU = torch.device("cpu")
# By the name of an operation in the profiler; the first match counts.
_KINDS = (
    ("convolution", ("convolution",)),
    ("pooling", ("max_pool",)),
    ("normalisation", ("batch_norm", "BatchNorm")),
    ("matrices", ("aten::mm", "aten::addmm", "aten::matmul", "aten::linear")),
    ("choosing pixels", ("aten::index_select",)),
    ("element by element, loss, optimiser", ("aten::", "Optimizer", "Backward")),
)
_REST = "Python and NumPy around it"
_NOT_ARITHMETIC = ("choosing pixels", _REST)


class Cost(NamedTuple):
    """Time of one step."""

    wall_s: float
    cpu_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and save; return 1 if the data set cannot be read."""
    options = _parse(arguments)
    try:
        facts = measure(options)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.to.parent.mkdir(parents=True, exist_ok=True)
    options.to.write_text(json.dumps(facts, indent=2) + "\n")
    _print(facts)
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all trainers in turns. Raises DataError."""
    source = DataSet(options.data, options.cache_dir)
    split = source.split("train")
    learners = {name: _learner(name, split, options.threads) for name in OURS}
    steps: dict[str, list[Cost]] = {name: [] for name in (PLAIN, *OURS)}
    batches: list[Cost] = []
    stolen = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as around:
        # Spread over all classes, which are stored one after another: a network that has memorised its few
        # images computes with denormal numbers, with which a step takes 20 times as long.
        spread = split[:: max(1, len(split) // options.pictures)]
        tutorial.write_pictures(spread, Path(folder))
        plain = around.enter_context(
            closing(tutorial.train_apart(Path(folder), BATCH, TrainConfig.shift_px, options.threads))
        )
        for _ in range(options.rounds):
            began, lost = time.perf_counter(), _stolen_s()
            steps[PLAIN].append(_cost(plain, options))
            for name, learner in learners.items():
                steps[name].append(_cost(_learning(learner), options))
            batches.append(_cost(_preparing(learners[OURS[-1]]), options))
            stolen.append((_stolen_s() - lost) / (time.perf_counter() - began) / (os.cpu_count() or 1))
            print(f"round {len(stolen)} of {options.rounds}: {stolen[-1]:.0%} stolen", file=sys.stderr)
    facts = machine.facts()
    facts["versions"] |= {name: version(name) for name in ("torch", "pillow")}
    return facts | {
        "data": source.description(),
        "threads": options.threads,
        "batch_size": BATCH,
        "steps_an_epoch": len(split) // BATCH,
        "steps_a_round": options.steps,
        "step": {name: [cost._asdict() for cost in costs] for name, costs in steps.items()},
        "batch": [cost._asdict() for cost in batches],
        "shares": {name: _shares(learner, options.steps) for name, learner in learners.items()},
        "stolen": stolen,
    }


def _learner(precision: str, split: Split, threads: int) -> Learner:
    config = TrainConfig(precision=precision, batch_size=BATCH, threads=threads)
    return Learner(config, split, None, ProcessGroup(), _CPU)


def _learning(learner: Learner) -> Generator[float]:
    for step in count():
        order = learner.order(step // learner.steps)
        start = step % learner.steps * BATCH
        yield learner.learn(order[start : start + BATCH], 0, step % learner.steps)


def _preparing(learner: Learner) -> Generator[torch.Tensor]:
    order = learner.order(0)
    for step in count():
        start = step % learner.steps * BATCH
        yield learner.batch(order[start : start + BATCH], 0, step % learner.steps)[0]


def _cost(work: Iterator[object], options: argparse.Namespace) -> Cost:
    """Take some steps as a warm-up, then measure."""
    for _ in range(options.warm_up):
        next(work)
    family = machine.family(os.getpid())
    cpu_s, began = machine.cpu_s(family), time.perf_counter()
    for _ in range(options.steps):
        next(work)
    wall_s, cpu_s = time.perf_counter() - began, machine.cpu_s(family) - cpu_s
    return Cost(wall_s / options.steps, cpu_s / options.steps)


def _shares(learner: Learner, steps: int) -> dict[str, float]:
    """Return each kind of operation's share of our steps' time; the rest includes the profiler's own cost."""
    work = _learning(learner)
    next(work)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        began = time.perf_counter()
        for _ in range(steps):
            next(work)
        took_us = (time.perf_counter() - began) * 1e6
    shares = dict.fromkeys((*(kind for kind, _ in _KINDS), _REST), 0.0)
    for event in seen.key_averages():
        kind = next((kind for kind, names in _KINDS if any(name in event.key for name in names)), _REST)
        shares[kind] += event.self_cpu_time_total / took_us
    shares[_REST] = 1 - sum(share for kind, share in shares.items() if kind != _REST)
    return shares


def _stolen_s() -> float:
    return sum(machine.stolen_s(core) for core in range(os.cpu_count() or 1))


def _print(facts: dict[str, Any]) -> None:
    steps, rounds = facts["steps_an_epoch"], len(facts["stolen"])
    print(
        f"{facts['machine']}, {facts['threads']} threads, PyTorch {facts['versions']['torch']}, "
        f"Pillow {facts['versions']['pillow']}\n{facts['data']}\n"
        f"median (smallest to largest) of n = {rounds} rounds of {facts['steps_a_round']} steps of "
        f"{facts['batch_size']} images; an epoch is {steps} such steps.\n"
        f"The hypervisor gave up to {max(facts['stolen']):.0%} of the cores' time to others"
    )
    print(f"{'':<28}{'s an epoch':>26}{'CPU s an epoch':>26}{'epochs/s':>10}")
    for name, costs in facts["step"].items():
        label = "the plain way, float32" if name == PLAIN else f"our trainer, {name}"
        wall, cpu = ([cost[unit] * steps for cost in costs] for unit in ("wall_s", "cpu_s"))
        print(f"{label:<28}{_cell(wall):>26}{_cell(cpu):>26}{1 / statistics.median(wall):>10.4f}")
    for title, above, below in (
        *((f"plain ÷ our {name}", PLAIN, name) for name in OURS),
        ("our float32 ÷ bfloat16", *OURS),
    ):
        wall, cpu = (_ratios(facts, above, below, unit) for unit in ("wall_s", "cpu_s"))
        print(f"{title:<28}{_cell(wall):>26}{_cell(cpu):>26}")
    best = statistics.median(_ratios(facts, PLAIN, OURS[-1], "wall_s"))
    print(f"goal: plain ÷ ours at least {GOAL:g}: {'met' if best >= GOAL else 'missed'}")
    batch = statistics.median(cost["wall_s"] for cost in facts["batch"])
    step = statistics.median(cost["wall_s"] for cost in facts["step"][OURS[-1]])
    print(f"preparing a batch: {batch * 1e3:.2f} ms, {batch / step:.1%} of a step in {OURS[-1]}")
    for name, shares in facts["shares"].items():
        arithmetic = sum(share for kind, share in shares.items() if kind not in _NOT_ARITHMETIC)
        parts = ", ".join(f"{kind} {share:.1%}" for kind, share in shares.items())
        print(f"arithmetic in {name}: {arithmetic:.1%} of a step ({parts})")


def _ratios(facts: dict[str, Any], above: str, below: str, unit: str) -> list[float]:
    """Return the ratio of two trainers' times, by round."""
    pairs = zip(facts["step"][above], facts["step"][below], strict=True)
    return [one[unit] / other[unit] for one, other in pairs]


def _cell(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    path = os.environ.get("CIFAR10NET_DATA")
    parser.add_argument("--data", type=Path, default=path and Path(path), help="as in cifar10net-train fit")
    parser.add_argument("--cache-dir", type=Path, help="where decoded pixels are kept")
    parser.add_argument(
        "--threads",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="threads, and workers of the DataLoader",
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=15, help="measured in each round")
    parser.add_argument("--warm-up", type=int, default=4, help="steps before those measured")
    parser.add_argument(
        "--pictures", type=int, default=10_000, help="images written as files for the tutorial's loop"
    )
    parser.add_argument("--to", type=Path, default=RESULTS, help="file of the results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
