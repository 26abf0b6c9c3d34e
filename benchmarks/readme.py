"""Puts the figures of the last ``make bench`` into the README, so that both are one run's.

In: ``benchmarks/results/serving.json``. Out: the README's table, between its two markers. Knows nothing of
how the figures were made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.page import with_table

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "serving.json"
README = ROOT / "README.md"
_TITLES = {
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


def table(results: dict[str, Any]) -> str:
    """Write the figures as a Markdown table, and what they were measured on."""
    figures = results["figures"]
    lines = ["| one core, by `make bench` | median (smallest-largest), n | goal |", "|---|---|---|"]
    lines += [line(title, figures[key]) for key, title in _TITLES.items() if key in figures]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    stolen = results["stolen_of_kept"]
    kept = f"Of {sum(results['rounds_made'])} rounds the {len(stolen)} were kept during which the hypervisor"
    load = f"load on the other core by h2load ({results['h2load']}) and our own generator"
    lines += [
        "",
        f"{results['machine']}, {results['kernel']}, Python {results['python']}, {versions};",
        f"{load}, {results['time'][:10]}.",
        f"{kept} gave least of the cores to others: {min(stolen):.0%} to {max(stolen):.0%} of them.",
    ]
    return "\n".join(lines) + "\n"


def line(title: str, figure: dict[str, Any]) -> str:
    """Write a figure as a row of the table: its median, spread and n, and whether its goal is met."""
    low, middle, high = (_rounded(figure[name]) for name in ("smallest", "median", "largest"))
    spread = f" ({low}-{high})" if figure["n"] > 1 else ""
    return f"| {title} | **{middle}**{spread}, n={figure['n']} | {_goal(figure)} |"


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
    """Write the table into the README."""
    README.write_text(with_table(README.read_text(), "bench", table(json.loads(RESULTS.read_text()))))


if __name__ == "__main__":
    main()
