"""Downloads the official CIFAR-10 archive and verifies its checksum."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from typing import TYPE_CHECKING

from rich.progress import Progress

from training.atomic_files import replacing
from training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

ARCHIVE_NAME = "cifar-10-python.tar.gz"
ARCHIVE_URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE_NAME}"
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 30.0


def official_archive(folder: Path, *, url: str = ARCHIVE_URL, sha256: str = ARCHIVE_SHA256) -> Path:
    """Return the path of the archive in ``folder``, after downloading it if it is missing.

    Raises:
        DataError: the download failed, or the file has another checksum.
        WriteError: the folder cannot be written.
    """
    path = folder / ARCHIVE_NAME
    if not path.exists():
        _download(url, sha256, path)
    return path


def _download(url: str, sha256: str, path: Path) -> None:
    digest = hashlib.sha256()
    try:
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response,  # noqa: S310 - https above
            replacing(path) as file,
            Progress(transient=True) as progress,
        ):
            size = int(response.headers.get("Content-Length", 0)) or None
            task = progress.add_task(f"downloading {path.name}", total=size)
            while chunk := response.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
                progress.advance(task, len(chunk))
            if digest.hexdigest() != sha256:
                raise DataError(
                    f"{url} answered a file with SHA-256 {digest.hexdigest()}, wanted {sha256}: "
                    "the download was cut short or changed; try again, or pass --data PATH"
                )
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__
        raise DataError(
            f"cannot download {url} ({reason}): fetch it on a machine with internet and pass --data PATH to "
            "the archive"
        ) from error
