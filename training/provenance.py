"""Which code, libraries and machine a result came from."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_TIMEOUT_S = 10.0


def source_commit() -> str:
    """Git commit of the checkout that this code runs from.

    ``-dirty`` is appended when tracked files of this package differ from it, for what else there is, such as
    the models that it writes, makes no result; ``unknown`` outside a checkout.
    """
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return "unknown"  # installed somewhere else, perhaps below another project's checkout
    commit, changes = (
        _git("rev-parse", "HEAD"),
        _git("status", "--porcelain", "--untracked-files=no", "--", "."),
    )
    return f"{commit}-dirty" if changes != "" else str(commit)


def library_versions(*names: str) -> dict[str, str]:
    """Versions of installed distributions; one that is absent is left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Processor and Python in one line, without the host's name."""
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
