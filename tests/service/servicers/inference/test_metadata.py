"""The metadata that clients read before they send images."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

import grpc
import pytest

from cifar10net.pb import inference_pb2 as pb
from cifar10net.protocol import MAX_CALL_IMAGES
from service.config import ServerConfig
from service.runtime.model import ModelInfo
from service.runtime.providers import ProviderConfig
from service.servicers.inference.metadata import describe
from service.version_policy import VersionPolicies
from tests.inference_stub import InferenceStub
from tests.service.servicers.inference.requests import SERVICE

if TYPE_CHECKING:
    from pathlib import Path

    Stub = InferenceStub

INFO = ModelInfo("model", 2, ("a", "b"), "CPUExecutionProvider", {"accuracy_top1": "0.5"}, "in", "out")


def test_a_server_that_answers_is_live_and_ready(stub: Stub) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=60).live
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=60).ready


@pytest.mark.parametrize(
    ("name", "number", "ready"),
    [
        ("colours", "", True),
        ("shades", "3", True),
        ("shades", "1", False),
        ("colours", "x", False),
        ("none", "", False),
    ],
)
def test_a_model_is_ready_if_it_answers(stub: Stub, name: str, number: str, *, ready: bool) -> None:
    assert stub.ModelReady(pb.ModelReadyRequest(name=name, version=number), timeout=60).ready is ready


def test_the_server_says_what_it_is_and_what_works(stub: Stub, server: str) -> None:
    everywhere = {
        "classification",
        "model_configuration",
        "binary_tensor_data",
        "schedule_policy",
        "parameters",
        "statistics",
    }
    with grpc.insecure_channel(server) as channel:
        plain = InferenceStub(channel).ServerMetadata(pb.ServerMetadataRequest(), timeout=60)

    metadata = stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=60)

    assert (metadata.name, metadata.version) == ("cifar10net", version("cifar10net"))
    assert set(metadata.extensions) == {*everywhere, "system_shared_memory"}
    assert set(plain.extensions) == everywhere


def test_a_models_tensors_are_described(stub: Stub) -> None:
    kind = pb.ModelMetadataResponse.TensorMetadata

    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="shades"), timeout=60)

    assert metadata == pb.ModelMetadataResponse(
        name="shades",
        versions=["3"],
        platform="onnxruntime_onnx",
        inputs=[kind(name="images", datatype="UINT8", shape=[-1, 32, 32, 3])],
        outputs=[kind(name="probabilities", datatype="FP32", shape=[-1, 3])],
    )


def test_a_models_configuration_is_described(stub: Stub) -> None:
    config = stub.ModelConfig(pb.ModelConfigRequest(name="shades", version="3"), timeout=60).config

    assert (config.name, config.platform, config.backend) == ("shades", "onnxruntime_onnx", "onnxruntime")
    assert config.max_batch_size == MAX_CALL_IMAGES
    assert config.dynamic_batching.preferred_batch_size == [64]
    (tensor,), (answer,), (group,) = config.input, config.output, config.instance_group
    assert tensor == pb.ModelInput(
        name="images", data_type=pb.TYPE_UINT8, format=pb.ModelInput.FORMAT_NHWC, dims=[32, 32, 3]
    )
    assert answer == pb.ModelOutput(name="probabilities", data_type=pb.TYPE_FP32, dims=[3])
    assert (group.name, group.kind, group.count) == (
        "CPUExecutionProvider",
        pb.ModelInstanceGroup.KIND_CPU,
        2,
    )
    assert config.parameters["labels"].string_value == "red,green,blue"
    assert config.parameters["accuracy_top1"].string_value == "1.0"


def test_a_configuration_says_how_the_server_was_started(tmp_path: Path) -> None:
    config = ServerConfig(
        models=tmp_path,
        workers=3,
        instances=2,
        max_batch=17,
        max_call_images=99,
        max_queue_delay_s=0.002,
        cache_mib=1,
        provider=ProviderConfig(name="cuda", device_id=1),
    )
    (tmp_path / "model").mkdir()
    without_labels = describe(INFO, config)
    (tmp_path / "model" / "labels.txt").write_text("a\nb\n")

    described = describe(INFO, config)

    assert described.input[0].name == "in"
    assert (described.output[0].name, described.output[0].label_filename) == ("out", "labels.txt")
    assert without_labels.output[0].label_filename == ""
    assert described.response_cache.enable
    assert not describe(INFO, replace(config, cache_mib=0)).response_cache.enable
    assert described.max_batch_size == 99
    batching = described.dynamic_batching
    assert (list(batching.preferred_batch_size), batching.max_queue_delay_microseconds) == ([17], 2000)
    group = described.instance_group[0]
    assert (group.kind, group.count, list(group.gpus)) == (pb.ModelInstanceGroup.KIND_GPU, 6, [1])


@pytest.mark.parametrize(
    ("policy", "described"),
    [
        ("latest:2", pb.ModelVersionPolicy(latest=pb.ModelVersionPolicy.Latest(num_versions=2))),
        ("all", pb.ModelVersionPolicy(all=pb.ModelVersionPolicy.All())),
        ("3,1", pb.ModelVersionPolicy(specific=pb.ModelVersionPolicy.Specific(versions=[1, 3]))),
    ],
)
def test_the_version_policy_of_a_model_is_described(policy: str, described: pb.ModelVersionPolicy) -> None:
    config = ServerConfig(versions=VersionPolicies.parse(["latest:7", f"{INFO.name}={policy}"]))

    assert describe(INFO, config).version_policy == described


@pytest.mark.parametrize(
    ("method", "name", "code"),
    [
        ("ModelMetadata", "", "INVALID_ARGUMENT"),
        ("ModelConfig", "", "INVALID_ARGUMENT"),
        ("ModelReady", "", "INVALID_ARGUMENT"),
        ("ModelMetadata", "none", "NOT_FOUND"),
        ("ModelConfig", "none", "NOT_FOUND"),
    ],
)
def test_a_request_without_a_known_model_is_refused(
    channel: grpc.Channel, method: str, name: str, code: str
) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}/{method}")

    with pytest.raises(grpc.RpcError) as caught:
        call(pb.ModelMetadataRequest(name=name).SerializeToString(), timeout=60)

    assert caught.value.code().name == code
