"""Runs a page in a process of its own, and validates its responses against the API description."""

from __future__ import annotations

import base64
import http.client
import json
import re
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import jsonschema
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Reply:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Page:
    """Runs ``cifar10net web`` on a loopback port; a context manager, which stops it."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "service.cli", "web", *arguments, "--port", "0", "--json"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(self._process.communicate(timeout=_TIMEOUT_S)[1])
        announced = json.loads(line)
        assert announced["pid"] == self._process.pid
        self.url: str = announced["url"]
        self.host: str = urllib.parse.urlsplit(self.url).netloc
        self.description: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.description = self.get("v1/openapi.json").json
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process.poll() is None:
            code, log = self.stop()
            assert code == 0, log

    def stop(self) -> tuple[int, str]:
        """Send SIGTERM; return exit code and log."""
        self._process.terminate()
        _, log = self._process.communicate(timeout=_TIMEOUT_S)
        return self._process.returncode, log

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, timeout=_TIMEOUT_S)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        connection = self.connect()
        try:
            connection.request(method, f"/{path}", body, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, None, headers)

    def json(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """Send a request that must succeed; return its body, which must match the description."""
        method = "GET" if body is None else "POST"
        reply = self.ask(method, path, body, headers)
        assert reply.status == 200, reply.body
        self.check(method, path, reply)
        return reply.json

    def problem(
        self, status: int, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Send a request that must be refused; return the problem and its ``retry-after``."""
        reply = self.ask("GET" if body is None else "POST", path, body, headers)
        assert reply.status == status, reply.body
        assert reply.headers["content-type"] == "application/problem+json"
        self._validate(reply.json, {"$ref": "#/components/schemas/Problem"})
        assert reply.json["status"] == status
        return reply.json | {"retry-after": reply.headers.get("retry-after")}

    def check(self, method: str, path: str, reply: Reply) -> None:
        """Validate a response against the description."""
        place = "/" + path.partition("?")[0]
        [operation] = [
            methods[method.lower()]
            for pattern, methods in self.description["paths"].items()
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern.replace(".", r"\.")), place)
            and not ("{" in pattern and place in self.description["paths"])
        ]
        [(kind, content)] = operation["responses"]["200"]["content"].items()
        assert re.fullmatch(kind.replace("*", ".*"), reply.headers["content-type"])
        if kind == "application/json":
            self._validate(reply.json, content["schema"])

    def _validate(self, body: Any, schema: Mapping[str, Any]) -> None:
        whole = {**schema, "components": self.description["components"]}
        jsonschema.Draft202012Validator(whole).validate(body)


def form(*files: tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """Encode a form with files; return its body and Content-Type header."""
    parts = b"".join(
        b'--fence\r\nContent-Disposition: form-data; name="pictures"; filename="'
        + name.encode()
        + b'"\r\nContent-Type: application/octet-stream\r\n\r\n'
        + content
        + b"\r\n"
        for name, content in files
    )
    return parts + b"--fence--\r\n", {"Content-Type": "multipart/form-data; boundary=fence"}


def array_of(tensor: Mapping[str, Any]) -> np.ndarray:
    """Decode a tensor of a response."""
    return np.frombuffer(base64.b64decode(tensor["data"]), "<f4").reshape(tensor["shape"])
