"""Writes the figures of the last ``make bench`` into docs/performance.md, and five rows into README."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.page import with_table, wrapped

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "serving.json"
FRONTS = ROOT / "benchmarks" / "results" / "fronts.json"
PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
TITLES = {
    "unary_1.images_per_s": "one image a call: images/s",
    "unary_1.cpu_us_an_image": "one image a call: server CPU, µs an image",
    "stream_1.images_per_s": "one image a message of a stream: images/s",
    "stream_1.cpu_us_an_image": "one image a message: server CPU, µs an image",
    "stream_1.cpu_us_beside_model": "one image a message: µs above the model's own",
    "ratios.stream_over_unary": "stream ÷ calls, images/s",
    "unary_64.images_per_s": "64 images a call: images/s",
    "unary_64.cpu_us_an_image": "64 images a call: server CPU, µs an image",
    "ceiling_64.images_per_s": "ONNX Runtime alone, batches of 64: images/s",
    "ceiling_64.cpu_us_an_image": "ONNX Runtime alone, batches of 64: CPU, µs an image",
    "ratios.unary_64_over_ceiling": "64 images a call ÷ ONNX Runtime alone, images/s",
    "ratios.ceiling_over_unary_64_cpu": "ONNX Runtime alone ÷ 64 images a call, CPU time",
    "photographs_16.images_per_s": "16 photographs (640x480 JPEG) a call: images/s",
    "poisson_50.p50_ms": "Poisson arrivals at 50% of capacity: p50, ms",
    "poisson_50.p99_ms": "p99, ms",
    "poisson_50.p999_ms": "p99.9, ms",
    "poisson_80.p50_ms": "Poisson arrivals at 80% of capacity: p50, ms",
    "poisson_80.p99_ms": "p99, ms",
    "poisson_80.p999_ms": "p99.9, ms",
    "poisson_80.p99_over_p50": "p99 ÷ p50",
    "ratios.two_workers_over_one": "two workers on two cores ÷ one on one, 64 images a call",
    "start.start_s": "start to SERVING, s",
    "memory.one_worker_mb": "resident after load, MB",
    "idle.core_share_percent": "CPU while idle, % of a core",
}
_BESIDE_GRPCIO = {
    "an empty call: CPU per call, µs": "empty",
    "Classify of one image: CPU per call, µs": "models",
}
_BESIDE_THE_MODEL = {
    "one image per call: CPU per image, µs": ("unary_1.cpu_us_an_image", "ceiling_1.cpu_us_an_image", 1),
    "64 images per call: CPU per image, µs": ("unary_64.cpu_us_an_image", "ceiling_64.cpu_us_an_image", 64),
    "64 images per call: images/s": ("unary_64.images_per_s", "ceiling_64.images_per_s", 64),
}


def table(results: dict[str, Any]) -> str:
    """Write all figures as a Markdown table with their goals, and a line about the machine."""
    figures = results["figures"]
    lines = ["| one core, by `make bench` | median (smallest-largest), n | goal |", "|---|---|---|"]
    lines += [line(title, figures[key]) for key, title in TITLES.items() if key in figures]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    stolen = results["stolen_of_kept"]
    kept = f"Of {sum(results['rounds_made'])} rounds the {len(stolen)} were kept during which the hypervisor"
    load = f"load on the other core by h2load ({results['h2load']}) and our own generator"
    machine = f"{results['machine']}, {results['kernel']}, Python {results['python']}, {versions}"
    share = f"{kept} gave least of the cores to others: {min(stolen):.0%} to {max(stolen):.0%} of them."
    return wrapped("\n".join([*lines, "", f"{machine}; {load}, {results['time'][:10]}. {share}"]) + "\n")


def short_table(results: dict[str, Any], fronts: dict[str, Any]) -> str:
    """Write the five rows of README: our server beside grpcio's, and beside the model without a server."""
    figures = results["figures"]
    rows = []
    for title, key in _BESIDE_GRPCIO.items():
        ours, theirs = (fronts["rows"][key][f"{name}, CPU us a call"] for name in ("ours", "grpcio"))
        rows.append((title, _median(ours), "grpcio's asyncio server, same handler", _median(theirs)))
    rows += [
        (title, _range(figures[served]), f"ONNX Runtime alone, batches of {size}", _range(figures[alone]))
        for title, (served, alone, size) in _BESIDE_THE_MODEL.items()
    ]
    head = ["| one core | cifar10net | compared with | its figure |", "|---|---|---|---|"]
    return "\n".join([*head, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def line(title: str, figure: dict[str, Any]) -> str:
    """Write a figure as a row of the table: its median, spread and n, and whether its goal is met."""
    low, middle, high = (_rounded(figure[name]) for name in ("smallest", "median", "largest"))
    spread = f" ({low}-{high})" if figure["n"] > 1 else ""
    return f"| {title} | **{middle}**{spread}, n={figure['n']} | {_goal(figure)} |"


def _median(values: list[float]) -> str:
    return _range({"smallest": min(values), "median": median(values), "largest": max(values)})


def _range(figure: dict[str, Any]) -> str:
    low, middle, high = (_rounded(figure[name]) for name in ("smallest", "median", "largest"))
    return f"{middle} ({low}–{high})"  # noqa: RUF001 - as the decisions write a range


def _goal(figure: dict[str, Any]) -> str:
    if figure["is_met"] is None:
        return ""
    sign, bound = ("≥", figure["at_least"]) if figure["at_least"] is not None else ("≤", figure["at_most"])
    return f"{sign} {bound:,g}: {'met' if figure['is_met'] else '**missed**'}"


def _rounded(value: float) -> str:
    """Three digits, or all of a large number's."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2  # noqa: PLR2004 - powers of ten
    return f"{value:,.{digits}f}"


def main() -> None:
    """Write both tables into their pages."""
    results = json.loads(RESULTS.read_text())
    PAGE.write_text(with_table(PAGE.read_text(), "bench", table(results)))
    README.write_text(
        with_table(README.read_text(), "bench", short_table(results, json.loads(FRONTS.read_text())))
    )


if __name__ == "__main__":
    main()
