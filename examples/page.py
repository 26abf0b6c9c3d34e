"""Start a server and its web page; stop both on Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from service.errors import StartupError
from service.server.spawn import ServerProcess

MODELS = Path(__file__).parent.parent / "exported_models"


def main() -> int:
    """Run ``cifar10net web`` with the given arguments and return its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        try:
            with ServerProcess("--models", str(MODELS), log=log) as server:
                return _show(server.address)
        except StartupError as error:
            print(f"error: {error}\n{log.read_text()}", file=sys.stderr)
            return 1


def _show(address: str) -> int:
    models = ("--server", address, "--models", str(MODELS))
    page = subprocess.Popen([sys.executable, "-m", "service.cli", "web", *models, *sys.argv[1:]])  # noqa: S603
    signal.signal(signal.SIGTERM, lambda *_: page.terminate())
    while page.returncode is None:
        with contextlib.suppress(KeyboardInterrupt):  # the terminal sends Ctrl-C to the page as well
            page.wait()
    return page.returncode


if __name__ == "__main__":
    sys.exit(main())
