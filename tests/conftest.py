"""Models, servers and data sets that many tests share, and the table of accounts at the end of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from service.server.spawn import ServerProcess
from tests.costs import COST, Reading, complaint
from tests.reliability.account import ROW, TITLES
from tests.service.colours import colour_model

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

ROOT = Path(__file__).parent.parent
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_MOST_PROCESSES = 8
_FEWEST_COSTS = 300
_SHOWN_COSTS = 10
_READ = pytest.StashKey[Reading]()
_MARKED = {
    "tests/containers/": "container",
    "tests/interop/": "interop",
    "tests/web/": "browser",
    "tests/service/batch/ray/test_ray.py": "ray",
}
collect_ignore = [  # where what they import is not installed
    path.removeprefix("tests/")
    for path, package in (("tests/web", "playwright"), ("tests/service/batch/ray/test_ray.py", "ray"))
    if find_spec(package) is None
]
_LONGEST = ("tests/reliability/test_mutations.py", "tests/training/quantization/test_quantizer.py")

# Tests run beside each other: one with a thread for every CPU would only make its neighbours wait. PyTorch
# reads this when it is imported, here and in processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # likewise: it would write into the home folder

if sys.dont_write_bytecode:  # else every process that tests start would compile all that it imports, again
    sys.dont_write_bytecode = False
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(ROOT / ".pytest_cache" / "bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A slow machine is no failure: hypothesis would allow each example 200 ms.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the repository's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel of this tree; skip where there is no hatchling."""
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """Return the real data set; skip where CIFAR10NET_DATA does not name it."""
    path = os.environ.get("CIFAR10NET_DATA")
    if not path:
        pytest.skip("CIFAR10NET_DATA is not set: it names CIFAR-10 (see docs/training.md)")
    return Path(path)


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an image folder shaped like CIFAR-10: 30 training and 100 test images a class.

    Each class has a colour of its own under noise, so that a network learns it within seconds.
    """
    folder = tmp_path_factory.mktemp("synthetic")
    generator = np.random.default_rng(0)
    colours = generator.integers(40, 216, (len(CLASSES), 3))
    for split, count in (("train", 30), ("test", 100)):
        for label, colour in zip(CLASSES, colours, strict=True):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                noise = generator.integers(-40, 40, (32, 32, 3))
                pixels = (colour + noise).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number:04}.png")
    return folder


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs more than `make test` has; begin with the longest files, so that none ends alone."""
    for item in items:
        for start, marker in _MARKED.items():
            if item.nodeid.startswith(start):
                item.add_marker(marker)
        if "cifar10" in getattr(item, "fixturenames", ()):
            item.add_marker("data")
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool | None, bool | None]:
    """Read the clocks before a test begins."""
    item.stash[_READ] = Reading.now()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what each phase of a test cost; one that should be marked as slow, and is not, fails."""
    report = yield
    before, item.stash[_READ] = item.stash[_READ], Reading.now()
    cost_s = before.cost_until(item.stash[_READ])
    report.user_properties.append((COST, cost_s))
    why = complaint(report, cost_s, frozenset(mark.name for mark in item.iter_markers()))
    if why:
        report.outcome, report.longrepr = "failed", why
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes ``-n auto`` means: one is more than there are CPUs, as tests wait too."""
    return min(len(os.sched_getaffinity(0)) + 1, _MOST_PROCESSES)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the costliest tests cost, and the accounts that tests have kept of their calls."""
    _print_costs(terminalreporter)
    _print_accounts(terminalreporter)


def _print_costs(terminalreporter: pytest.TerminalReporter) -> None:
    costs = sorted(
        (
            (cost_s, f"{report.when:<8} {report.nodeid}")
            for report in _reports(terminalreporter)
            for name, cost_s in report.user_properties
            if name == COST
        ),
        reverse=True,
    )
    if len(costs) < _FEWEST_COSTS:  # somebody looks at a few tests
        return
    terminalreporter.section("costliest: seconds on an idle machine")
    for cost_s, what in costs[:_SHOWN_COSTS]:
        terminalreporter.line(f"{cost_s:6.1f} {what}")


def _reports(terminalreporter: pytest.TerminalReporter) -> Iterator[pytest.TestReport]:
    for reports in terminalreporter.stats.values():
        yield from (report for report in reports if isinstance(report, pytest.TestReport))


def _print_accounts(terminalreporter: pytest.TerminalReporter) -> None:
    rows = {
        report.location: str(row)
        for report in _reports(terminalreporter)
        for name, row in report.user_properties
        if name == ROW
    }
    if not rows:
        return
    width = max(len(name) for _, _, name in rows)
    terminalreporter.section("calls")
    terminalreporter.line(" " * width + TITLES)
    for (_, _, name), row in sorted(rows.items(), key=_place):
        terminalreporter.line(name.ljust(width) + row)


def _place(row: tuple[tuple[str, int | None, str], str]) -> tuple[str, int]:
    """Return the file of a row's test, and where in it the test is."""
    (file, line, _), _ = row
    return file, line or 0


@pytest.fixture(scope="session")
def add_model() -> Callable[..., Path]:
    """Return a function that puts a model into a repository folder."""

    def add(root: Path, name: str = "colours", version: str = "1", content: bytes | None = None) -> Path:
        path = root / name / version / "model.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(colour_model() if content is None else content)
        return path

    return add


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory, add_model: Callable[..., Path]) -> Path:
    root = tmp_path_factory.mktemp("repository")
    add_model(root)
    add_model(root, "shades", "1")
    add_model(root, "shades", "3")
    return root


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real server process for the session and return its address."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    limits = ("--max-image-bytes", "100000", "--max-image-pixels", "1000000", "--min-ping-interval-s", "0")
    process = ServerProcess("--models", str(repository), "--threads", "1", *limits, log=log)
    process.start()
    yield process.address
    assert process.stop() == 0
    assert "call failed" not in log.read_text()


@pytest.fixture
def coloured() -> np.ndarray:
    """Return 90 images, in turn mostly red, green and blue, no two alike: uint8 (90, 32, 32, 3)."""
    images = np.random.default_rng(0).integers(0, 100, (90, 32, 32, 3), dtype=np.uint8)
    for channel in range(3):
        images[channel::3, ..., channel] += 100
    return images
