"""The server on one core: images/s, CPU time an image, latency, start-up and memory.

The server is pinned to one core, the load generator to another, all on loopback. The ceiling, ONNX
Runtime alone on the server's core, is measured between the rounds of the same run.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load import Load, run
from service.model import OnnxModel
from service.pb import classifier_pb2 as pb
from service.process import ServerProcess

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "exported_models" / "cifar10net" / "1" / "model.onnx"
RESULTS = ROOT / "benchmarks" / "results"
ROUNDS = 5
SECONDS = 4.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure, print a table, keep the numbers as JSON; returns the exit code."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:  # noqa: PLR2004 - one each for server and load
        print("error: two cores are needed, one for the server and one for the load", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        rows, start_s, memory_mib = _measure(cores[0], cores[1], Path(folder) / "log")
    facts = {
        "machine": _processor(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": ROUNDS,
        "seconds_a_round": SECONDS,
        "versions": {name: version(name) for name in ("cifar10net", "grpcio", "numpy", "onnxruntime")},
        "python": sys.version.split()[0],
        "start_s": start_s,
        "memory_mib": memory_mib,
        "rows": rows,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "serving.json").write_text(json.dumps(facts, indent=2) + "\n")
    _print(facts, rows)
    return 0


def _measure(
    server_core: int, load_core: int, log: Path
) -> tuple[dict[str, dict[str, list[float]]], float, float]:
    one, sixty_four = (_request(n) for n in (1, 64))
    jpegs = pb.ClassifyRequest(images=[pb.Image(encoded=_photograph())] * 16).SerializeToString()
    cases = {
        "1 raw image a call": (one, 1, 16),
        "64 raw images a call": (sixty_four, 64, 4),
        "16 photographs a call (640x480 JPEG)": (jpegs, 16, 4),
    }
    rows: dict[str, dict[str, list[float]]] = {name: {} for name in ("ceiling", *cases)}
    began = time.perf_counter()
    with ServerProcess("--models", str(ROOT / "exported_models"), "--threads", "1", log=log) as server:
        start_s = time.perf_counter() - began
        _pin(server.pid, server_core)
        for request, _, callers in cases.values():  # warm up: none of it is counted
            run(server.address, request, callers, 0.5)
        for _ in range(ROUNDS):
            os.sched_setaffinity(0, {server_core})
            _append(rows["ceiling"], images_per_s=_ceiling())
            os.sched_setaffinity(0, {load_core})
            for name, (request, images, callers) in cases.items():
                before = _cpu_s(server.pid)
                load: Load = run(server.address, request, callers, SECONDS)
                cpu_s = _cpu_s(server.pid) - before
                n = load.calls * images
                _append(
                    rows[name],
                    images_per_s=n / load.seconds,
                    cpu_us_an_image=cpu_s / n * 1e6,
                    p50_ms=load.p50_ms,
                    p99_ms=load.p99_ms,
                )
        memory_mib = _status_mib(server.pid, "VmRSS")
    return rows, start_s, memory_mib


def _ceiling() -> float:
    """Images/s of ONNX Runtime alone: batches of 64, one thread, in this process."""
    model = OnnxModel(MODEL, "cifar10net", 1, "cpu", threads=1)
    images = _images(64)
    model.warm_up(64)
    began, batches = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS / 2:
        model.run(images)
        batches += 1
    return batches * 64 / (time.perf_counter() - began)


def _images(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def _request(n: int) -> bytes:
    return pb.ClassifyRequest(packed_pixels=_images(n).tobytes()).SerializeToString()


def _photograph() -> bytes:
    return (ROOT / "examples" / "images" / "dog.jpg").read_bytes()


def _append(row: dict[str, list[float]], **values: float) -> None:
    for name, value in values.items():
        row.setdefault(name, []).append(value)


def _pin(pid: int, core: int) -> None:
    """Keep every thread of a process on one core; threads it makes later inherit that."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def _cpu_s(pid: int) -> float:
    """User and system time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _status_mib(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def _print(facts: dict[str, Any], rows: dict[str, dict[str, list[float]]]) -> None:
    def middle(values: list[float], digits: int) -> str:
        spread = f"{min(values):,.{digits}f}-{max(values):,.{digits}f}"
        return f"{statistics.median(values):,.{digits}f} ({spread})"

    columns: list[tuple[str, str, int]] = [
        ("images/s", "images_per_s", 0),
        ("server CPU us/image", "cpu_us_an_image", 0),
        ("p50 ms", "p50_ms", 1),
        ("p99 ms", "p99_ms", 1),
    ]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    print(f"one core of {facts['machine']}, {versions}, Python {facts['python']}")
    print(f"median (smallest-largest) of n = {ROUNDS} rounds of {SECONDS:.0f} s")
    print(f"{'':38}" + "".join(f"{title:>22}" for title, _, _ in columns))
    ceiling = statistics.median(rows["ceiling"]["images_per_s"])
    for name, row in rows.items():
        title = "ONNX Runtime alone, batches of 64" if name == "ceiling" else name
        cells = [middle(row[key], digits) if key in row else "" for _, key, digits in columns]
        print(f"{title:38}" + "".join(f"{cell:>22}" for cell in cells))
    ratio = statistics.median(rows["64 raw images a call"]["images_per_s"]) / ceiling
    print(f"64 raw images a call / ONNX Runtime alone: {ratio:.2f}")
    print(f"start to SERVING {facts['start_s']:.2f} s, resident {facts['memory_mib']:.0f} MiB")


if __name__ == "__main__":
    sys.exit(main())
