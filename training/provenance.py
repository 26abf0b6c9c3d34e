"""Provenance of a result: commit, library versions and machine."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_TIMEOUT_S = 10.0


def source_commit() -> str:
    """Return the Git commit of the checkout that this code runs from; ``unknown`` outside a checkout.

    ``-dirty`` is appended if tracked files of this package differ from it. Other files, such as exported
    models, do not affect a result.
    """
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return "unknown"  # installed, perhaps inside another project's checkout
    commit, changes = (
        _git("rev-parse", "HEAD"),
        _git("status", "--porcelain", "--untracked-files=no", "--", "."),
    )
    return f"{commit}-dirty" if changes != "" else str(commit)


def library_versions(*names: str) -> dict[str, str]:
    """Return the versions of distributions by name, without those that are not installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Describe processor and Python in one line, without the host name."""
    return f"{_processor()}, Python {platform.python_version()}, {platform.system()}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(Path(__file__).parent), *arguments],  # noqa: S607 - git of the user
            capture_output=True,
            text=True,
            check=True,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
