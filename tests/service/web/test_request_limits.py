"""Requests beyond the limits are refused with a time to try again, and then answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cifar10net.errors import ConfigError
from service.security.api_keys import make_key
from service.server.spawn import ServerProcess
from service.web.problem_details import ProblemError
from service.web.request_limits import RateLimiter, RequestLimits
from service.web.settings import WebConfig
from tests.service.web.pages import Page, form

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def narrow(answering: str) -> Iterator[Page]:
    limits = ("--max-upload-mib", "1", "--max-pictures", "3", "--max-requests", "1")
    more = ("--max-image-bytes", "200000", "--max-image-pixels", "100000")
    with Page("--server", answering, *limits, *more) as running:
        yield running


def test_an_upload_that_is_too_large_is_not_read(narrow: Page, dog: bytes) -> None:
    connection = narrow.connect()
    connection.putrequest("POST", "/v1/classify")
    connection.putheader("Content-Length", str((1 << 20) + 1))
    connection.endheaders()
    answer = connection.getresponse()

    assert answer.status == 413
    assert b"1,048,576 bytes" in answer.read()
    connection.close()
    narrow.json("v1/classify", dog[:50])


def test_an_upload_of_unknown_size_is_cut_off(narrow: Page) -> None:
    connection = narrow.connect()
    connection.request("POST", "/v1/classify", iter([b"x" * 65_536] * 17), encode_chunked=True)
    answer = connection.getresponse()

    assert answer.status == 413
    connection.close()


def test_a_picture_that_is_too_large_gets_its_own_error(narrow: Page, dog: bytes) -> None:
    small = dog
    body, headers = form(("many pixels", small), ("many bytes", small + b"\0" * 200_000))

    results = narrow.json("v1/classify", body, headers)["results"]

    assert [result["error"]["code"] for result in results] == ["TOO_LARGE", "TOO_LARGE"]
    assert "pixels" in results[0]["error"]["message"]
    assert "bytes" in results[1]["error"]["message"]


def test_more_pictures_than_are_allowed_are_refused(narrow: Page) -> None:
    body, headers = form(*((str(number), b"x") for number in range(4)))

    assert "Maximum number of files is 3" in narrow.problem(400, "v1/classify", body, headers)["detail"]


def test_requests_beyond_the_concurrency_limit_are_to_be_repeated(narrow: Page, dog: bytes) -> None:
    first = narrow.connect()
    first.putrequest("POST", "/v1/classify")
    first.putheader("Content-Length", str(len(dog)))
    first.putheader("Expect", "100-continue")  # answered when the body is read
    first.endheaders()
    assert first.sock.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"

    problem = narrow.problem(503, "v1/classify", dog)
    narrow.json("v1/models")
    first.send(dog)
    answered = first.getresponse()

    assert (problem["code"], problem["retry-after"]) == ("overloaded", "1")
    assert answered.status == 200
    answered.read()
    first.close()
    narrow.json("v1/classify", dog)


def test_an_address_beyond_its_rate_is_to_try_again_later(answering: str, dog: bytes) -> None:
    with Page("--server", answering, "--max-burst", "2", "--max-rate", "0.01") as slow:
        for _ in range(2):
            slow.json("v1/classify", dog)
        forged = {"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=192.0.2.7"}

        problem = slow.problem(429, "v1/classify", dog, forged)

        assert problem["code"] == "overloaded"
        assert 90 <= int(problem["retry-after"]) <= 100
        slow.json("v1/models")


def test_a_bucket_refills_with_time_up_to_a_burst() -> None:
    rates = RateLimiter(rate=2, burst=3)

    assert [rates.take("a", 0) for _ in range(3)] == [0, 0, 0]
    assert rates.take("a", 0) == 0.5
    assert rates.take("b", 0) == 0
    assert rates.take("a", 0.5) == 0
    assert rates.take("a", 0.5) == 0.5
    assert [rates.take("a", 100) for _ in range(4)] == [0, 0, 0, 0.5]


def test_only_the_most_recent_addresses_are_remembered() -> None:
    rates = RateLimiter(rate=1, burst=1)

    for number in range(10_000):
        rates.take(str(number), 0)

    assert len(rates._buckets) == 4_096
    assert rates.take("9999", 0) == 1
    assert rates.take("0", 0) == 0


def test_a_stalled_body_ends_the_request() -> None:
    async def reads_all(_scope: Any, receive: Any, _send: Any) -> None:
        while True:
            await receive()

    async def never() -> Any:
        await asyncio.Event().wait()

    async def send(_message: Any) -> None:
        raise AssertionError

    limits = RequestLimits(reads_all, WebConfig(stall_s=0.01))
    scope = {"type": "http", "method": "POST", "path": "/v1/classify", "headers": [], "client": ("a", 1)}

    with pytest.raises(ProblemError, match="No part of its body has arrived") as raised:
        asyncio.run(limits(scope, never, send))

    assert raised.value.status == 408
    assert limits._in_flight == {"read": 0, "upload": 0}


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"port": 70_000}, "port is 70000, wanted 0 to 65535"),
        ({"upload_mib": 0}, "max_upload_mib is 0"),
        ({"pictures": 0}, "max_pictures is 0"),
        ({"rate": 0.0}, "max_rate is 0.0"),
        ({"under_way": 0}, "max_requests is 0"),
        ({"allowed_hosts": ("http://example.org",)}, "allow_host is 'http://example.org'"),
        ({"allowed_hosts": ("example.org:80",)}, "allow_host is 'example.org:80'"),
    ],
)
def test_settings_out_of_their_range_are_refused(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        WebConfig(**setting)


def test_a_stopped_server_is_reported_and_asked_again_once_it_is_back(
    models: Path, dog: bytes, tmp_path: Path
) -> None:
    server = ServerProcess("--models", str(models), "--workers", "1", log=tmp_path / "log")
    server.start()
    with Page("--server", server.address, "--deadline-s", "5") as page:
        page.json("v1/classify", dog)
        assert server.stop() == 0

        description = page.json("v1/models")
        problem = page.problem(503, "v1/classify", dog)

        assert description["server"]["state"] == "unavailable"
        assert description["models"] == []
        assert "is cifar10net serve running there?" in description["server"]["detail"]
        assert (problem["code"], problem["retry-after"]) == ("unavailable", "1")
        assert page.get("").status == 200
        port = int(server.address.rpartition(":")[2])
        with ServerProcess("--models", str(models), "--workers", "1", port=port, log=tmp_path / "log"):
            while page.json("v1/models")["server"]["state"] != "serving":
                pass
            page.json("v1/classify", dog)


def test_the_api_key_is_sent_to_the_server(models: Path, dog: bytes, tmp_path: Path) -> None:
    key, line = make_key("page")
    (tmp_path / "keys.txt").write_text(f"{line}\n")
    (tmp_path / "page.key").write_text(key)
    arguments = ("--models", str(models), "--workers", "1", "--api-keys", str(tmp_path / "keys.txt"))
    with ServerProcess(*arguments, log=tmp_path / "log") as server:
        with Page("--server", server.address) as stranger:
            response = stranger.json("v1/models")["server"]
            problem = stranger.problem(502, "v1/classify", dog)
        with Page("--server", server.address, "--api-key-file", str(tmp_path / "page.key")) as page:
            page.json("v1/classify", dog)

    assert (response["state"], problem["code"]) == ("unavailable", "locked-out")
    assert "UNAUTHENTICATED" in response["detail"]
    assert key not in str(response) + str(problem)


@settings(max_examples=150)
@given(
    body=st.binary(max_size=300)
    | st.lists(
        st.sampled_from(
            [
                b"--fence",
                b"--",
                b"\r\n",
                b"\n",
                b"Content-Disposition: form-data",
                b'; name="a"',
                b'; filename="',
                b'"',
                b"; filename*=utf-8''%ff",
                b"Content-Type: image/png",
                b"\x89PNG\r\n\x1a\n",
                b": ",
                b"\x00",
            ]
        ),
        max_size=30,
    ).map(b"".join),
    kind=st.sampled_from(
        [
            "multipart/form-data; boundary=fence",
            "multipart/form-data; boundary=fence; charset=base64",
            "multipart/form-data; boundary=",
            'multipart/form-data; boundary="',
            "multipart/form-data; charset=\xff",
            "MULTIPART/FORM-DATA;;;",
            "image/png",
            "",
        ]
    ),
)
def test_no_upload_makes_the_page_fail(page: Page, body: bytes, kind: str) -> None:
    reply = page.ask("POST", "v1/classify", body, {"Content-Type": kind})

    assert reply.status in {200, 400}, reply.body
