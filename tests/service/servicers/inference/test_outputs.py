"""The bytes of a response are what the protobuf library would have written, in every form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cifar10net.pb import inference_pb2 as pb
from service.errors import DisabledError, InvalidRequestError, UnknownRegionError
from service.runtime.model import ModelInfo
from service.servicers.inference.classification import ClassificationWriter
from service.servicers.inference.outputs import InferResponseWriter, OutputOptions, parse_output_options
from service.servicers.inference.regions import Region, RegionRegistry
from tests.service.servicers.inference.requests import numbers, output, parameters, strings
from tests.service.servicers.message_fields import unset_fields

if TYPE_CHECKING:
    from pathlib import Path

INFO = ModelInfo("model", 7, ("no", "yes: ä", "perhaps"), "CPUExecutionProvider", {})
_floats = st.floats(width=32, allow_nan=True, allow_infinity=True)
_rows = st.integers(1, 40).flatmap(lambda n: arrays(np.float32, (n, 3), elements=_floats))


def _response(
    rows: np.ndarray, request_id: str = "", options: OutputOptions | None = None
) -> pb.ModelInferResponse:
    return pb.ModelInferResponse.FromString(
        InferResponseWriter(INFO).write(rows, request_id, options or OutputOptions())
    )


@given(rows=_rows, request_id=st.text(max_size=200))
def test_a_plain_response_is_what_the_library_would_write(rows: np.ndarray, request_id: str) -> None:
    expected = pb.ModelInferResponse(
        model_name="model",
        model_version="7",
        id=request_id,
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(name="probabilities", datatype="FP32", shape=rows.shape)
        ],
        raw_output_contents=[rows.tobytes()],
    )

    assert _response(rows, request_id) == expected


def test_responses_of_the_same_size_share_no_values() -> None:
    writer = InferResponseWriter(INFO)
    rows = [np.full((2, 3), value, np.float32) for value in (1, 2)]

    responses = [pb.ModelInferResponse.FromString(writer.write(each, "", OutputOptions())) for each in rows]

    assert [numbers(response).tolist() for response in responses] == [each.tolist() for each in rows]


@given(rows=_rows, classes=st.integers(1, 3))
def test_a_classification_names_classes_best_first(rows: np.ndarray, classes: int) -> None:
    found = strings(_response(rows, options=OutputOptions(classes)))

    assert [len(each) for each in found] == [classes] * len(rows)
    for row, texts in zip(rows, found, strict=True):
        indexes = [int(text.split(":", 2)[1]) for text in texts]
        assert texts == [f"{row[index]:.6f}:{index}:{INFO.labels[index]}" for index in indexes]
        if not np.isnan(row).any():
            assert indexes == sorted(range(3), key=lambda index: (-row[index], index))[:classes]


def test_each_string_follows_its_length() -> None:
    rows = np.array([[0.25, 0.5, 0.25]], np.float32)

    assert ClassificationWriter(("a", "b", "c")).write(rows, 2) == (
        b"\x0c\x00\x00\x000.500000:1:b\x0c\x00\x00\x000.250000:0:a"
    )


def test_equal_probabilities_come_by_index() -> None:
    rows = np.array([[index % 3 for index in range(100)]], np.float32)

    found = ClassificationWriter(["x"] * 100).write(rows, 100)

    indexes = [int(index) for index in re.findall(rb":(\d+):x", found)]
    assert indexes == sorted(range(100), key=lambda index: (-(index % 3), index))


# -- shared memory


@pytest.fixture
def regions(tmp_path: Path) -> RegionRegistry:
    (tmp_path / "object").write_bytes(bytes(100))
    regions = RegionRegistry(tmp_path)
    regions.add(Region("region", "object", 20, 60))
    return regions


def _options(regions: RegionRegistry | None, **values: Any) -> OutputOptions:
    return parse_output_options(pb.ModelInferRequest(outputs=[output(**values)]), INFO, 2, regions)


def test_values_are_written_where_the_request_wants_them_in_shared_memory(
    regions: RegionRegistry, tmp_path: Path
) -> None:
    place: dict[str, Any] = {
        "shared_memory_region": "region",
        "shared_memory_byte_size": 30,
        "shared_memory_offset": 8,
    }
    rows = np.arange(1, 7, dtype=np.float32).reshape(2, 3)

    response = _response(rows, "id", _options(regions, **place))

    expected = bytes(28) + rows.tobytes() + bytes(100 - 28 - 24)
    assert (tmp_path / "object").read_bytes() == expected
    assert response.id == "id"
    assert response.raw_output_contents == [b""]
    assert response.outputs[0].shape == [2, 3]
    assert dict(response.outputs[0].parameters) == parameters({**place, "shared_memory_byte_size": 24})


def test_no_field_of_the_proto_is_forgotten(regions: RegionRegistry) -> None:
    options = _options(regions, shared_memory_region="region", shared_memory_byte_size=24)

    unset = unset_fields(_response(np.ones((2, 3), np.float32), "id", options))

    assert {name for name in unset if not name.startswith("inference.InferTensorContents.")} == {
        "inference.ModelInferResponse.InferOutputTensor.contents",  # never, as the proto says
        "inference.ModelInferResponse.parameters",  # in streams
    }


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"shared_memory_region": "none"}, UnknownRegionError, "no region of shared memory is called 'none'"),
        ({"shared_memory_region": 1}, InvalidRequestError, "as int64_param, expected string_param"),
        ({"shared_memory_region": "region"}, InvalidRequestError, "and no shared_memory_byte_size"),
        (
            {"shared_memory_region": "region", "shared_memory_byte_size": 61},
            InvalidRequestError,
            "61 bytes from 0 on in the region 'region', which has 60",
        ),
        (
            {"shared_memory_region": "region", "shared_memory_byte_size": 24, "shared_memory_offset": 37},
            InvalidRequestError,
            "24 bytes from 37 on",
        ),
        (
            {"shared_memory_region": "region", "shared_memory_byte_size": 23},
            InvalidRequestError,
            "has 23 bytes of shared memory, expected at least 24",
        ),
        (
            {"shared_memory_region": "region", "shared_memory_byte_size": 24, "classification": 1},
            InvalidRequestError,
            "classification and shared_memory_region, expected one",
        ),
        (
            {"shared_memory_region": "region", "shared_memory_byte_size": -1},
            InvalidRequestError,
            "shared_memory_byte_size -1",
        ),
        (
            {"shared_memory_region": "region", "shared_memory_byte_size": 24, "shared_memory_offset": -1},
            InvalidRequestError,
            "shared_memory_offset -1",
        ),
        (
            {
                "shared_memory_region": "region",
                "shared_memory_byte_size": 2**63 - 1,
                "shared_memory_offset": 2**63 - 1,
            },
            InvalidRequestError,
            "which has 60",
        ),
    ],
)
def test_an_invalid_place_in_shared_memory_is_refused(
    regions: RegionRegistry, values: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _options(regions, **values)


def test_shared_memory_is_refused_where_it_is_off() -> None:
    with pytest.raises(DisabledError, match="--shared-memory"):
        _options(None, shared_memory_region="region", shared_memory_byte_size=24)
