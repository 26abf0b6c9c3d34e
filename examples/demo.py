"""Start a server, classify the sample photographs in one call, print their top three, stop the server."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from cifar10net import Client
from cifar10net.errors import ClientError
from service.batch.terminal import bar_lines
from service.errors import StartupError
from service.server.spawn import ServerProcess

ROOT = Path(__file__).parent.parent
PHOTOGRAPHS = sorted(
    path for path in (ROOT / "examples" / "images").iterdir() if path.suffix in {".jpg", ".png", ".webp"}
)


def main() -> int:
    """Return 0 if every photograph was classified and the server stopped with exit code 0."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        server = ServerProcess("--models", str(ROOT / "exported_models"), log=log)
        try:
            failed = _classify(server)
        except (StartupError, ClientError) as error:
            print(f"error: {error}\n{log.read_text()}", file=sys.stderr)
            return 1
    return 1 if failed else 0


def _classify(server: ServerProcess) -> bool:
    began = time.monotonic()
    with server:
        print(
            f"server {server.address}, process {server.pid}: SERVING after {time.monotonic() - began:.1f} s\n"
        )
        with Client(server.address) as client:
            began = time.monotonic()
            results = client.classify(PHOTOGRAPHS)
            took_ms = (time.monotonic() - began) * 1000
        for path, result in zip(PHOTOGRAPHS, results, strict=True):
            shown = "\n".join(bar_lines(path.name, result.classes))
            print(shown if result.error is None else f"{path.name}: {result.error}")
        print(
            f"\n{len(results)} photographs in one call of {took_ms:.0f} ms; stopping the server with SIGTERM"
        )
        server.terminate()
        code = server.wait()
    print(f"server ended with exit code {code}")
    return code != 0 or any(result.error for result in results)


if __name__ == "__main__":
    sys.exit(main())
