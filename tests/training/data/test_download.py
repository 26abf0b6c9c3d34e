"""The official archive is fetched whole and verified, or not kept at all."""

from __future__ import annotations

import hashlib
import http.server
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from training.data.download import ARCHIVE_NAME, official_archive
from training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 9000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/junk":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            return
        if self.path == "/chunks":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf")
            return
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000] if self.path == "/short" else CONTENT)

    def log_message(self, *_arguments: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # who has heard enough hangs up
            super().handle_error(request, client_address)


@pytest.fixture
def url() -> Iterator[str]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_archive_is_fetched_once(url: str, tmp_path: Path) -> None:
    path = official_archive(tmp_path / "new", url=f"{url}/whole", sha256=SHA256)
    again = official_archive(tmp_path / "new", url="http://127.0.0.1:1/never", sha256=SHA256)

    assert path == again == tmp_path / "new" / ARCHIVE_NAME
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "sha256", "message"),
    [
        ("whole", "0" * 64, "SHA-256 .*, wanted 0000"),
        ("short", SHA256, "SHA-256|cut short"),
        ("junk", SHA256, r"cannot download .*pass --data PATH"),
        ("chunks", SHA256, r"cannot download .*pass --data PATH"),
        ("missing", SHA256, r"cannot download .*Not Found.*pass --data PATH"),
    ],
)
def test_a_bad_download_leaves_nothing(
    url: str, tmp_path: Path, path: str, sha256: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        official_archive(tmp_path, url=f"{url}/{path}", sha256=sha256)

    assert list(tmp_path.iterdir()) == []


def test_offline_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot download .*refused.*pass --data PATH"):
        official_archive(tmp_path, url="http://127.0.0.1:1/archive", sha256=SHA256)
