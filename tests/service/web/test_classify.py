"""The page classifies pictures exactly as the server does."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from cifar10net import Client
from tests.service.web.pages import Page, form

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _pixels(url: str) -> np.ndarray:
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def _answer(address: str, image: np.ndarray, **options: Any) -> list[dict[str, Any]]:
    """Return the server's own answer."""
    with Client(address) as client:
        [result] = client.classify(image[None], **options)
    return [vars(one) for one in result.classes]


def test_a_picture_as_the_body_gets_the_servers_top_three(
    page: Page, answering: str, dog: bytes, dog_seen: np.ndarray
) -> None:
    [result] = page.json("v1/classify", dog)["results"]

    assert result["top"] == _answer(answering, dog_seen)
    assert (result["model"], result["version"], result["error"]) == ("cifar10net", "1", None)
    assert result["provider"] == "CPUExecutionProvider"
    assert np.array_equal(_pixels(result["seen"]), dog_seen)
    assert [*result["times_ms"]] == ["decode", "network", "queue", "batch", "compute", "total"]


def test_model_and_number_of_classes_can_be_chosen(
    page: Page, answering: str, dog: bytes, dog_seen: np.ndarray
) -> None:
    [result] = page.json("v1/classify?model=lenet&version=1&top=10", dog)["results"]

    assert result["model"] == "lenet"
    assert result["top"] == _answer(answering, dog_seen, model="lenet", top_k=10)


def test_a_broken_picture_does_not_affect_the_others(page: Page, dog: bytes) -> None:
    body, headers = form(
        ("a.jpg", dog), ("<img src=x>.jpg", b"no picture"), ("cut.jpg", dog[:1000]), ("b.jpg", dog)
    )

    results = page.json("v1/classify", body, headers)["results"]

    assert [result["name"] for result in results] == ["a.jpg", "<img src=x>.jpg", "cut.jpg", "b.jpg"]
    assert [(result["error"] or {}).get("code") for result in results] == [
        None,
        "UNSUPPORTED_FORMAT",
        "CORRUPT",
        None,
    ]
    assert results[0]["top"] == results[3]["top"] == page.json("v1/classify", dog)["results"][0]["top"]
    assert results[1]["top"] == []
    assert results[1]["seen"] is None


def test_a_form_of_broken_pictures_gets_their_errors(page: Page) -> None:
    body, headers = form(("a", b"no picture"), ("b", b""))

    results = page.json("v1/classify", body, headers)["results"]

    assert [result["error"]["code"] for result in results] == ["UNSUPPORTED_FORMAT", "EMPTY"]


@pytest.mark.parametrize(("x", "y"), [(4, 0), (-3, 0), (0, 2), (1, -4)])
def test_a_shifted_picture_is_what_the_server_classifies(
    page: Page, answering: str, dog: bytes, dog_seen: np.ndarray, x: int, y: int
) -> None:
    wide = np.pad(dog_seen, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    moved = wide[4 - y : 36 - y, 4 - x : 36 - x]
    kept = dog_seen[max(0, -y) : 32 - max(0, y), max(0, -x) : 32 - max(0, x)]

    [result] = page.json(f"v1/classify?shift_x={x}&shift_y={y}", dog)["results"]

    seen = _pixels(result["seen"])
    assert np.array_equal(seen, moved)
    assert np.array_equal(seen[max(0, y) : 32 + min(0, y), max(0, x) : 32 + min(0, x)], kept)
    assert result["top"] == _answer(answering, moved)


def test_all_shifts_of_a_picture_come_in_one_response(page: Page, dog: bytes) -> None:
    response = page.json("v1/shifts?model=lenet&max=2", dog)

    assert [(each["x"], each["y"]) for each in response["shifts"]] == [
        (x, y) for y in range(-2, 3) for x in range(-2, 3)
    ]
    for each in response["shifts"]:
        assert sum(each["probabilities"]) == pytest.approx(1, abs=1e-5)
    [one] = page.json("v1/classify?model=lenet&shift_x=-1&shift_y=2&top=10", dog)["results"]
    [same] = [each for each in response["shifts"] if (each["x"], each["y"]) == (-1, 2)]
    by_index = sorted(one["top"], key=lambda score: score["index"])
    assert same["probabilities"] == pytest.approx([score["probability"] for score in by_index], abs=1e-6)


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("v1/classify?top=0", 400, "top is '0', wanted 1 to 10"),
        ("v1/classify?top=99999999999999999999999999", 400, "wanted 1 to 10"),
        ("v1/classify?shift_x=5", 400, "shift_x is '5', wanted -4 to 4"),
        ("v1/classify?model=none", 404, "no model is called 'none'"),
        ("v1/classify?version=9", 404, "9"),
        ("v1/shifts?model=none", 404, "no model is called 'none'"),
        ("v1/shifts?max=x", 400, "max is 'x', wanted 0 to 4"),
    ],
)
def test_invalid_parameters_get_problem_details(
    page: Page, dog: bytes, path: str, status: int, detail: str
) -> None:
    assert detail in page.problem(status, path, dog)["detail"]


def test_a_request_without_a_picture_says_how_to_send_one(page: Page) -> None:
    empty, headers = form()

    for body, kind in ((b"", {}), (empty, headers)):
        assert "curl --data-binary @photo.jpg" in page.problem(400, "v1/classify", body, kind)["detail"]


def test_a_malformed_form_is_refused(page: Page, dog: bytes) -> None:
    body, headers = form(("a.jpg", dog))

    for broken in (body[:-40], b"--other--"):
        page.problem(400, "v1/classify", broken, headers)
    page.problem(400, "v1/classify", body, {"Content-Type": "multipart/form-data"})


def test_two_pictures_are_refused_where_one_is_expected(page: Page, dog: bytes) -> None:
    body, headers = form(("a.jpg", dog), ("b.jpg", dog))

    assert "2 pictures, wanted one" in page.problem(400, "v1/shifts", body, headers)["detail"]
    problem = page.problem(422, "v1/shifts", b"no picture")
    assert problem["code"] == "bad-picture"
    assert "which is no JPEG" in problem["detail"]


def test_the_models_are_those_of_the_server(page: Page, answering: str) -> None:
    response = page.json("v1/models")

    assert response["server"] == {"kind": "server", "address": answering, "state": "serving", "detail": ""}
    assert {model["name"]: model["can_look_inside"] for model in response["models"]} == {
        "cifar10net": True,
        "cifar10net_int8_openvino": False,
        "lenet": True,
    }
    assert [model["name"] for model in response["models"] if model["is_default"]] == ["cifar10net"]
    assert response["limits"] == {"upload_bytes": 32 << 20, "pixels": 64_000_000, "pictures": 64}
    assert (response["has_test_set"], response["has_runs"]) == (True, False)


def test_samples_come_with_their_credits(page: Page) -> None:
    samples = page.json("v1/samples")["samples"]

    assert len(samples) == 9
    for sample in samples:
        assert sample["credit"]
        reply = page.get(sample["url"])
        page.check("GET", sample["url"], reply)
        Image.open(io.BytesIO(reply.body)).verify()
    page.problem(404, "v1/samples/SOURCES.md")
    page.problem(404, "v1/samples/..%2FREADME.md")


@pytest.fixture(scope="module")
def alone(models: Path) -> Iterator[Page]:
    with Page("--model", str(models)) as running:
        yield running


def test_the_local_backend_answers_as_the_server_does(alone: Page, page: Page, dog: bytes) -> None:
    response = alone.json("v1/models")

    assert response["server"]["kind"] == "local"
    assert response["models"] == page.json("v1/models")["models"]
    for name in ("cifar10net", "lenet"):
        path = f"v1/classify?model={name}&top=10"
        [here], [there] = (each.json(path, dog)["results"] for each in (alone, page))
        assert [score["label"] for score in here["top"]] == [score["label"] for score in there["top"]]
        assert [score["probability"] for score in here["top"]] == pytest.approx(
            [score["probability"] for score in there["top"]], abs=1e-6
        )
        assert [*here["times_ms"]] == ["decode", "queue", "compute", "total"]
    assert len(alone.json("v1/shifts", dog)["shifts"]) == 81
    assert alone.json("v1/inside?model=lenet", dog)["layers"]
    assert "there is no model 'none'" in alone.problem(404, "v1/classify?model=none", dog)["detail"]
