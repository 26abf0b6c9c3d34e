"""``make bench-containers``: size of the server's image, and how its containers start and stop.

Measures the image that ``make images`` built, and writes benchmarks/results/containers.json and the table of
docs/deployment.md. Each container has two CPUs and 1 GiB, as in docker-compose.yml. Start times run from the
container's start as the engine reports it to the first SERVING that a client sees, without the engine's own
work.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import machine
from benchmarks.page import with_table, wrapped
from cifar10net import Client
from cifar10net.config import ClientConfig
from cifar10net.errors import ClientError
from deploy.images import layers
from service.server.health_check import check_health

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results" / "containers.json"
PAGE = ROOT / "docs" / "deployment.md"
IMAGE = "cifar10net-server:latest"
ADDRESS = "127.0.0.1:50062"
CALLERS = 4
CALL_IMAGES = 256
MB = 1_000_000
_OPTIONS = ("--cpus=2", "--memory=1g", "--read-only", "--cap-drop=ALL", "--tmpfs=/tmp:size=16m,mode=1777")
TITLES = {
    "packages_mb": "image above its base: packages, MB",
    "code_mb": "our code and its bill of materials, MB",
    "models_mb": "the models, MB",
    "start_s": "container's start to SERVING, s",
    "start_cpu_s": "CPU time of that, s",
    "idle_stop_s": "SIGTERM to the end, idle, s",
    "busy_stop_s": "SIGTERM to the end, under load, s",
    "lost": "calls in flight at SIGTERM that were not answered",
    "resident_mb": "resident, after load, MB",
}


class Asker(threading.Thread):
    """Classifies the same images again and again until a call fails."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = 0
        self.failed_at: float | None = None
        """When the failed call began."""

    def run(self) -> None:
        """Send calls until one fails: the first that begins after the stop is refused."""
        with Client(ADDRESS, ClientConfig(max_attempts=1)) as client:
            while self.failed_at is None:
                began = time.time()
                try:
                    client.classify([bytes(3072)] * CALL_IMAGES)
                    self.answered += 1
                except ClientError:
                    self.failed_at = began


def measure(engine: str, rounds: int) -> dict[str, list[float]]:
    """Start and stop containers.

    Returns:
        Values by the names in ``TITLES``.
    """
    figures: dict[str, list[float]] = {name: [] for name in TITLES}
    for name, size in _layers(engine).items():
        figures[name].append(size / MB)
    for _ in range(rounds):
        container = _run(engine, "run", "--detach", *_OPTIONS, f"--publish={ADDRESS}:50051", IMAGE)
        try:
            _one_life(engine, container, figures)
        finally:
            _run(engine, "rm", "--force", container)
    return figures


def _one_life(engine: str, container: str, figures: dict[str, list[float]]) -> None:
    started = _until_serving(engine, container)
    figures["start_s"].append(started)
    figures["start_cpu_s"].append(machine.cpu_s(_processes(engine, container)))
    _run(engine, "stop", "--time=30", container)
    figures["idle_stop_s"].append(_stop_s(engine, container))
    _run(engine, "start", container)
    _until_serving(engine, container)
    askers = [Asker() for _ in range(CALLERS)]
    for asker in askers:
        asker.start()
    while any(asker.answered < CALLERS and asker.is_alive() for asker in askers):
        time.sleep(0.01)
    figures["resident_mb"].append(sum(machine.resident_mb(each) for each in _processes(engine, container)))
    stopped_s = time.time()
    _run(engine, "stop", "--time=30", container)
    for asker in askers:
        asker.join()
    figures["busy_stop_s"].append(_stop_s(engine, container))
    figures["lost"].append(
        sum(asker.failed_at is not None and asker.failed_at < stopped_s for asker in askers)
    )


def _processes(engine: str, container: str) -> list[int]:
    return machine.family(int(_run(engine, "inspect", "--format={{.State.Pid}}", container)))


def _until_serving(engine: str, container: str) -> float:
    """Wait until a server is SERVING; return the seconds since its container's start."""
    end = time.monotonic() + 60.0
    while check_health(ADDRESS, 60.0) != "SERVING":
        if time.monotonic() > end:
            sys.exit("the server in the container does not serve")
    now = time.time()
    return now - _moment(_run(engine, "inspect", "--format={{json .State.StartedAt}}", container))


def _stop_s(engine: str, container: str) -> float:
    """Return the seconds from the log's ``stopping`` to the container's end."""
    done = subprocess.run([engine, "logs", container], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    events = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]
    stopping = [event["timestamp"] for event in events if event["event"] == "stopping"][-1]
    end = _moment(_run(engine, "inspect", "--format={{json .State.FinishedAt}}", container))
    return end - datetime.fromisoformat(stopping).timestamp()


def _moment(text: str) -> float:
    """Parse an engine's timestamp, which has nanoseconds; Python takes microseconds."""
    whole, _, rest = json.loads(text).partition(".")
    digits = rest.rstrip("Z")
    fraction, zone = digits, "+00:00"
    for sign in "+-":
        if sign in digits:
            fraction, _, offset = digits.partition(sign)
            zone = sign + offset
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}{zone}").timestamp()


def _layers(engine: str) -> dict[str, int]:
    """Return the size in bytes of the layers above the base, by their content."""
    parts = {
        "packages_mb": r"/opt/cifar10net( #.*)?$",
        "code_mb": r" /( #.*)?$",
        "models_mb": r"/models( #.*)?$",
    }
    copied = [(size, made.strip()) for size, made in layers(engine, IMAGE) if "COPY" in made]
    return {
        name: next(size for size, made in copied if re.search(part, made)) for name, part in parts.items()
    }


def table(results: dict[str, Any]) -> str:
    """Return the figures as a Markdown table, and a line about the machine."""
    lines = ["| the server's image, by `make bench-containers` | median (smallest-largest), n |", "|---|---|"]
    for name, title in TITLES.items():
        values = results["figures"][name]
        spread = f" ({min(values):.3g}-{max(values):.3g})" if len(values) > 1 else ""
        lines.append(f"| {title} | **{median(values):.3g}**{spread}, n={len(values)} |")
    where = f"{results['machine']}, {results['kernel']}, {results['engine']}, {results['time'][:10]}"
    load = f"load average {results['load_average']:.1f} on {results['cpus']} CPUs"
    return wrapped("\n".join([*lines, "", f"{where}; two CPUs and 1 GiB a container; {load}.", ""]))


def main() -> None:
    """Measure, and write the results and the page's table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="docker", help="docker or podman")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    figures = measure(options.engine, options.rounds)
    results = {**machine.facts(), "engine": _run(options.engine, "--version"), "figures": figures}
    results |= {"load_average": os.getloadavg()[0], "cpus": os.cpu_count()}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    PAGE.write_text(with_table(PAGE.read_text(), "bench-containers", table(results)))
    print(table(results))


def _run(engine: str, *arguments: str) -> str:
    done = subprocess.run([engine, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if done.returncode != 0:
        sys.exit(f"{engine} {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
