"""Model files are not trusted: signature, labels and answers are checked before they serve."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest

from service.errors import ModelError, ProviderError
from service.runtime import model as model_module
from service.runtime.model import ModelFile, OnnxModel, saturates
from service.runtime.providers import PROVIDERS, ProviderConfig
from tests.service.colours import colour_model, expected_probabilities
from tests.service.int8_models import BRIGHT, answers, int8_model, int8_model_with_a_shared_zero_point

if TYPE_CHECKING:
    from pathlib import Path


def _load(path: Path, provider: str = "cpu") -> OnnxModel:
    file = ModelFile(path, "colours", 1, path.read_bytes())
    return OnnxModel(file, ProviderConfig(name=provider), threads=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(colour_model())
    return path


def test_it_answers_and_says_what_it_is(path: Path, coloured: np.ndarray) -> None:
    model = _load(path)

    model.warm_up(64)
    answer = model.run(coloured)

    assert np.abs(answer - expected_probabilities(coloured)).max() < 1e-5
    assert model.info.labels == ("red", "green", "blue")
    assert model.info.provider == "CPUExecutionProvider"
    assert model.info.metadata == {"accuracy_top1": "1.0"}
    assert (model.info.input_name, model.info.output_name) == ("images", "probabilities")
    assert model.info.sha256 == sha256(colour_model()).hexdigest()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_answers_alike(path: Path, coloured: np.ndarray, provider: str) -> None:
    wanted = PROVIDERS[provider].name
    if wanted not in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has no {wanted}")
    model = _load(path, provider)

    answer = model.run(coloured)

    assert model.info.provider == wanted
    assert np.abs(answer - expected_probabilities(coloured)).max() < 1e-5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be loaded by CPUExecutionProvider"),
        (b"not protobuf", "cannot be loaded by"),
        (colour_model()[:300], "cannot be loaded by"),
        (colour_model(labels=None), "names 1 labels .* for 3 classes"),
        (colour_model(labels="red,green"), "names 2 labels"),
        (colour_model(labels="red,green,red"), "a distinct name each"),
        (colour_model(side=28), r"wanted one uint8 \[batch,32,32,3\] input"),
    ],
)
def test_a_bad_file_is_one_sentence(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)

    with pytest.raises(ModelError, match=message) as caught:
        _load(path)

    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("whole", "damaged"),
    [
        (b"accuracy_top1\x12\x031.0", b"accuracy_top1\x12\x03\xff.0"),
        (b"images", b"image\xff"),
        (b"probabilities", b"probabilitie\xff"),
        (b"batch", b"batc\xff"),
    ],
)
def test_text_that_is_none_is_one_sentence(path: Path, whole: bytes, damaged: bytes) -> None:
    content = colour_model()
    assert whole in content
    path.write_bytes(content.replace(whole, damaged))

    with pytest.raises(ModelError, match="damaged names or metadata, not UTF-8"):
        _load(path)


def test_what_is_wrong_with_a_file_is_said_in_the_error_alone(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime's own lines would be in between those of the log, which may be JSON."""
    model = onnx.load_model_from_string(colour_model())
    [scale] = [tensor for tensor in model.graph.initializer if tensor.name == "scale"]
    scale.ClearField("raw_data")
    scale.ClearField("float_data")
    path.write_bytes(model.SerializeToString())

    with pytest.raises(ModelError, match="'scale'"):
        _load(path)

    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("location", ["weights", "../{folder}/weights"])
def test_weights_outside_the_file_are_never_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    model = onnx.load_model_from_string(colour_model(labour=1))
    [weights] = [tensor for tensor in model.graph.initializer if tensor.name == "turn"]
    (path.parent / "weights").write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location.format(folder=path.parent.name))
    path.write_bytes(model.SerializeToString())
    monkeypatch.chdir(path.parent)

    with pytest.raises(ModelError, match="External data path"):
        _load(path)


def test_a_model_without_softmax_fails_its_warm_up(path: Path) -> None:
    path.write_bytes(colour_model(softmax=False))

    with pytest.raises(ModelError, match=r"wanted .* probabilities that sum to 1"):
        _load(path).warm_up(4)


def test_a_provider_that_is_not_installed_says_which_extra(path: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")

    with pytest.raises(
        ProviderError, match=r"provider cuda needs CUDAExecutionProvider.*install the extra gpu"
    ):
        _load(path, "cuda")


def test_a_provider_that_fell_back_to_the_cpu_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As onnxruntime-gpu behaves on a machine without CUDA libraries: offered, asked for, not active.
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda *arguments, **options: session(
            *arguments, **{**options, "providers": ["CPUExecutionProvider"]}
        ),
    )
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])

    with pytest.raises(ProviderError, match="CPUExecutionProvider is active"):
        _load(path, "cuda")


def test_without_onnxruntime_the_extras_are_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "onnxruntime", None)

    with pytest.raises(ProviderError, match="pip install one of the extras cpu, gpu and openvino"):
        _load(path)


def test_a_session_leaves_nothing_in_the_home_folder(root: Path, tmp_path: Path) -> None:
    """ONNX Runtime's telemetry is off: it begins with an identifier there."""
    file = "exported_models/cifar10net/1/model.onnx"
    program = f"from service.runtime import model; model.onnxruntime.InferenceSession('{file}')"
    unset = {"CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}  # in CI it is off by itself
    environment = {name: value for name, value in os.environ.items() if name not in unset}

    subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=environment | {"HOME": str(tmp_path)}, check=True
    )

    assert list(tmp_path.iterdir()) == []


def test_int8_products_are_added_exactly() -> None:
    assert not saturates(ProviderConfig())


@pytest.mark.parametrize(("largest", "is_risky"), [(127, True), (64, False)])
def test_a_model_that_saturates_here_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, largest: int, *, is_risky: bool
) -> None:
    """As on a provider that cannot be asked for exact sums, on a CPU without VNNI."""
    monkeypatch.setattr(model_module, "saturates", lambda _provider, **_how: True)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    path.write_bytes(int8_model(largest))

    warning = _load(path).info.warning

    assert bool(warning) == is_risky
    assert ("this CPU has no VNNI" in warning) == is_risky


def test_a_model_that_adds_exactly_is_right(path: Path) -> None:
    path.write_bytes(int8_model())
    model = _load(path)

    assert np.abs(model.run(BRIGHT) - answers(BRIGHT)).max() < 1e-5
    assert model.info.warning == ""


def test_a_model_that_cannot_be_made_exact_is_loaded_and_says_what_that_means_here(path: Path) -> None:
    path.write_bytes(int8_model_with_a_shared_zero_point())

    model = _load(path)

    assert model.run(BRIGHT).shape == (2, 3)
    assert bool(model.info.warning) == saturates(ProviderConfig(), is_exact=False)


@pytest.mark.parametrize(("version", "is_exact"), [("1.24.1", False), ("1.30.0", True), ("2.0rc1", True)])
def test_exact_sums_are_asked_for_where_that_is_safe(
    path: Path, monkeypatch: pytest.MonkeyPatch, version: str, *, is_exact: bool
) -> None:
    """Older ones end the process at a MatMulInteger without zero points."""
    options: list[onnxruntime.SessionOptions] = []
    session = onnxruntime.InferenceSession

    def record(*arguments: object, **settings: Any) -> object:
        options.append(settings["sess_options"])
        return session(*arguments, **settings)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    monkeypatch.setattr(onnxruntime, "__version__", version)
    _load(path)

    asked = options[0].get_session_config_entry("session.x64quantprecision")
    assert asked == ("1" if is_exact else "0")


def test_the_model_of_two_products_is_what_it_says() -> None:
    constants: dict[str, np.ndarray] = {
        "one": np.array(1, np.float32),
        "zero": np.array(0, np.uint8),
        "w": np.full((4, 1), 127, np.int8),
        "wzero": np.array(0, np.int8),
    }
    steps = [
        ("QuantizeLinear", ["x", "one", "zero"], "xq"),
        ("DequantizeLinear", ["xq", "one", "zero"], "xd"),
        ("DequantizeLinear", ["w", "one", "wzero"], "wd"),
        ("MatMul", ["xd", "wd"], "y"),
    ]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, inputs, [output]) for kind, inputs, output in steps],
        "p",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 1])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 13)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)

    assert model.SerializeToString() == model_module._PAIRS_MODEL
