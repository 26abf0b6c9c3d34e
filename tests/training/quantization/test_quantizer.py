"""A quantised model answers nearly as its original, records its loss, and can be served."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from cifar10net import Client
from service.server.spawn import ServerProcess
from tests.real_images import few_of
from training.cli import cli
from training.data.cifar10 import CLASS_NAMES
from training.data.dataset import DataSet, hold_out
from training.errors import CheckpointError, ExportError, QuantizeError, TrainingError
from training.evaluation.metrics import onnx_predictor, predict_all
from training.export import float64_reference as exact_module
from training.export.exporter import _to_onnx, export
from training.export.manifest import make_manifest
from training.quantization import quantizer as quantize_module
from training.quantization.float16 import to_float16
from training.quantization.quantized_model import (
    FloatModel,
    in_memory_predictor,
    measure_effect,
    read_float_model,
)
from training.quantization.quantizer import (
    PORTABLE,
    SATURATES,
    QuantizeConfig,
    QuantizeResult,
    calibration_images,
    quantize,
)
from training.quantization.saturation import is_portable
from training.quantization.static_quantization import METHODS, Calibrated, calibrate

if TYPE_CHECKING:
    from pathlib import Path

    from training.data.dataset import Split
    from training.learning.run import Run

FEW = QuantizeConfig(calibration_images=100, validation_per_class=5)


@pytest.fixture(scope="module")
def repository(finished: Run, test_split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with a model of the synthetic classes."""
    root = tmp_path_factory.mktemp("repository")
    export(finished.load(), test_split, "synthetic colours", root)
    return root


@pytest.fixture(scope="module")
def source(repository: Path) -> FloatModel:
    return read_float_model(repository / "cifar10net" / "1" / "model.onnx")


@pytest.fixture(scope="module")
def twin(source: FloatModel, data_set: DataSet, repository: Path) -> QuantizeResult:
    return quantize(source, data_set, FEW, repository)


@pytest.fixture(scope="module")
def half(source: FloatModel, data_set: DataSet, repository: Path) -> QuantizeResult:
    return quantize(source, data_set, QuantizeConfig(form="fp16"), repository)


def _metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def _changed(source: FloatModel, path: Path, **metadata: str | None) -> Path:
    """Write the source's model with other metadata; None leaves an entry out."""
    model = onnx.load(source.path)
    kept = {key: value for key, value in (source.metadata | metadata).items() if value is not None}
    del model.metadata_props[:]
    for key, value in kept.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def _operators(path: Path, folder: Path) -> list[str]:
    """Return what ONNX Runtime makes of a model, operator by operator."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3  # it warns that such a file is of one machine
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]


@pytest.mark.parametrize("form", ["int8", "int8_openvino"])
@pytest.mark.parametrize("weight_bits", [7, 8])
def test_int8_answers_nearly_as_float32(
    source: FloatModel, train_split: Split, test_split: Split, form: str, weight_bits: int
) -> None:
    model = calibrate(
        source.model,
        train_split.images[::3],
        METHODS[:1],
        weight_bits=weight_bits,
        for_openvino=form == "int8_openvino",
    ).to_int8(METHODS[0])

    found = measure_effect(source, in_memory_predictor(model), test_split)

    assert abs(found.lost_points) <= 0.5
    assert found.same_top1 > 0.98
    assert 0 < found.mean_difference < 0.01
    assert is_portable(model) == (weight_bits == 7)


@pytest.fixture(scope="module")
def few_real(cifar10: Path, tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Return 130 training and 300 test images of each class."""
    folder = tmp_path_factory.mktemp("few")
    return DataSet(few_of(cifar10, folder / "few.zip", train=130, test=300), folder)


def test_int8_answers_nearly_as_float32_on_real_images(root: Path, few_real: DataSet) -> None:
    real = read_float_model(root / "exported_models/cifar10net/1/model.onnx")
    images, _ = calibration_images(few_real.split("train"), QuantizeConfig(calibration_images=300), 100)

    model = calibrate(real.model, images.images, METHODS[1:2]).to_int8(METHODS[1])
    found = measure_effect(real, in_memory_predictor(model), few_real.split("test"))

    assert found.lost_points <= 0.5
    assert found.same_top1 > 0.975
    assert found.mean_difference < 0.005


def test_half_answers_as_float32_on_real_images(root: Path, few_real: DataSet) -> None:
    real = read_float_model(root / "exported_models/cifar10net/1/model.onnx")

    found = measure_effect(real, in_memory_predictor(to_float16(real.model)), few_real.split("test"))

    assert found.largest_difference < 0.005
    assert found.same_top1 > 0.998


def test_all_of_it_runs_in_int8_kernels(twin: QuantizeResult, tmp_path: Path) -> None:
    operators = _operators(twin.path, tmp_path)

    assert operators.count("QLinearConv") == 3
    assert operators.count("QGemm") == 1
    assert not {"Conv", "FusedConv", "Gemm", "Div", "Sub", "Cast"} & set(operators)
    assert operators.count("Transpose") <= 1  # before the last matrix
    assert operators.count("QuantizeLinear") == 0  # pixels go in as they are


@pytest.mark.parametrize("n", [1, 2, 3, 64])
def test_it_takes_any_batch_size(
    twin: QuantizeResult, half: QuantizeResult, test_split: Split, n: int
) -> None:
    for path in (twin.path, half.path):
        predict = onnx_predictor(path)
        together, alone = predict(test_split.images[:n]), predict(test_split.images[:1])

        assert together.shape == (n, 10)
        assert np.abs(together[:1] - alone).max() < 1e-3
        assert np.abs(together.sum(axis=1) - 1).max() < 1e-5


def test_it_says_what_it_is_and_where_it_came_from(
    twin: QuantizeResult, source: FloatModel, test_split: Split, repository: Path
) -> None:
    metadata, folder = _metadata(twin.path), repository / "cifar10net_int8"

    assert twin.path == folder / "1" / "model.onnx"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == ["1/manifest.json", "1/model.onnx", "README.md", "config.pbtxt", "labels.txt"]
    assert (folder / "1" / "manifest.json").read_text() == make_manifest(twin.path)
    assert metadata["model"] == "cifar10net_int8"
    assert metadata["labels"].split(",") == list(CLASS_NAMES)
    assert metadata["recipe"] == source.metadata["recipe"]
    assert metadata["quantized_from_sha256"] == source.sha256
    assert float(metadata["accuracy_top1"]) == pytest.approx(twin.effect.after.top1, abs=1e-4)
    assert metadata["accuracy_data_sha256"] == test_split.digest()
    assert (
        "on 100 of 250 training images, seed 0; chosen of 4 by 50 validation images"
        in (metadata["quantized_calibration"])
    )
    card = (folder / "README.md").read_text()
    assert f"| top-1 | {twin.effect.after.top1:.2%} (" in card
    assert f"{twin.path.stat().st_size:,} bytes instead of" in card
    assert metadata["quantized_calibration"] in card
    assert 'name: "cifar10net_int8"' in (folder / "config.pbtxt").read_text()


@pytest.fixture
def one_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try one way to choose ranges instead of four, where that is not what is tested."""
    monkeypatch.setattr(quantize_module, "METHODS", METHODS[:1])


@pytest.mark.usefixtures("one_method")
def test_a_second_time_gives_the_same_bytes(source: FloatModel, data_set: DataSet, tmp_path: Path) -> None:
    paths = [quantize(source, data_set, FEW, tmp_path / name).path for name in "ab"]

    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.usefixtures("one_method")
def test_it_says_which_processors_answer_alike(source: FloatModel, data_set: DataSet, tmp_path: Path) -> None:
    told: list[str] = []

    seven = quantize(source, data_set, FEW, tmp_path / "7", report=told.append)
    assert not any("VNNI" in line for line in told)
    eight = quantize(
        source, data_set, dataclasses.replace(FEW, weight_bits=8), tmp_path / "8", report=told.append
    )

    assert told[-1] == SATURATES
    assert _metadata(seven.path)["quantized_processors"] == PORTABLE
    assert _metadata(eight.path)["quantized_processors"] == SATURATES
    assert f"| processors | {SATURATES} |" in (eight.path.parents[1] / "README.md").read_text()


@pytest.mark.usefixtures("one_method")
def test_weights_that_could_saturate_are_not_published_as_portable(
    source: FloatModel, data_set: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as those of a quantizer that no longer heeds the number of bits."""
    monkeypatch.setattr(
        quantize_module,
        "calibrate",
        lambda *arguments, **settings: calibrate(*arguments, **settings | {"weight_bits": 8}),
    )

    with pytest.raises(QuantizeError, match=r"two weights .* add up to 254, wanted at most 128"):
        quantize(source, data_set, FEW, tmp_path / "root")

    assert not (tmp_path / "root").exists()


def test_ranges_do_not_depend_on_the_order_of_float_sums(
    source: FloatModel, train_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another processor's float64 sums differ in their last digits; the file must not."""
    images = train_split.images[:60]
    exact = calibrate(source.model, images)
    wide = exact_module._in_float64

    def shaken(model: onnx.ModelProto) -> onnx.ModelProto:
        other = wide(model)
        for value in other.graph.initializer:
            if value.data_type == onnx.TensorProto.DOUBLE:
                values = onnx.numpy_helper.to_array(value) * (
                    1 + 2e-16 * np.sign(np.random.default_rng(0).normal())
                )
                value.CopyFrom(onnx.numpy_helper.from_array(values, value.name))
        return other

    monkeypatch.setattr(exact_module, "_in_float64", shaken)
    other = calibrate(source.model, images)

    for method in METHODS:
        assert exact.to_int8(method).SerializeToString() == other.to_int8(method).SerializeToString()


def test_half_has_half_the_bytes_and_gives_float32(half: QuantizeResult, source: FloatModel) -> None:
    model = onnx.load(half.path)

    onnx.checker.check_model(model, full_check=True)
    assert not any(value.data_type == onnx.TensorProto.FLOAT for value in model.graph.initializer)
    assert half.path.stat().st_size < 0.6 * source.path.stat().st_size
    assert half.effect.largest_difference < 0.02
    (output,) = model.graph.output
    assert output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


@pytest.mark.usefixtures("one_method")
def test_ranges_come_from_training_images_alone_and_the_test_split_is_read_last(
    source: FloatModel, data_set: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    seen: list[Any] = []
    split = data_set.split

    def watched(model: onnx.ModelProto, images: Any, *arguments: Any, **settings: Any) -> Calibrated:
        order.append("calibrate")
        seen.append(images)
        return calibrate(model, images, *arguments, **settings)

    def noted(name: Any) -> Split:
        order.append(name)
        return split(name)

    monkeypatch.setattr(quantize_module, "calibrate", watched)
    monkeypatch.setattr(data_set, "split", noted)
    quantize(source, data_set, FEW, tmp_path)

    kept, held = hold_out(split("train"), 5)
    calibrated = {image.tobytes() for image in seen[0]}
    assert order == ["train", "calibrate", "test"]
    assert len(calibrated) == 100
    assert calibrated <= {image.tobytes() for image in kept.images}
    assert not calibrated & {image.tobytes() for image in held.images}
    assert not calibrated & {image.tobytes() for image in split("test").images}


def _spoiled(*spared: str) -> Any:
    """Calibrate every method but those spared on images of one grey."""

    def spoil(model: onnx.ModelProto, images: Any, methods: Any, **settings: Any) -> Calibrated:
        good = calibrate(model, images, methods, **settings)
        grey = calibrate(model, np.full_like(images, 121), methods, **settings)
        ranges = {method: (good if method.name in spared else grey).ranges[method] for method in methods}
        return dataclasses.replace(good, ranges=ranges)

    return spoil


def test_the_method_nearest_to_float32_on_validation_images_is_kept(
    source: FloatModel, data_set: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize_module, "calibrate", _spoiled("percentile 99.999"))
    told: list[str] = []

    done = quantize(source, data_set, FEW, tmp_path, report=told.append)

    assert _metadata(done.path)["quantized_calibration"].startswith("percentile 99.999 ")
    assert len(told) == len(METHODS) + 1


@pytest.mark.usefixtures("one_method")
def test_what_has_lost_too_much_is_not_kept(
    source: FloatModel, data_set: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize_module, "calibrate", _spoiled())

    with pytest.raises(QuantizeError, match=r"points lost, wanted at most 0\.5; nothing was written"):
        quantize(source, data_set, FEW, tmp_path / "root")

    assert not (tmp_path / "root").exists()


def test_half_that_differs_is_not_kept(
    source: FloatModel, data_set: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize_module, "FLOAT16_TOLERANCE", 1e-9)

    with pytest.raises(QuantizeError, match="float16 and float32 differ by"):
        quantize(source, data_set, QuantizeConfig(form="fp16"), tmp_path / "root")

    assert not (tmp_path / "root").exists()


@pytest.mark.usefixtures("one_method")
def test_another_model_of_the_version_is_replaced_only_when_asked(
    twin: QuantizeResult, source: FloatModel, data_set: DataSet, repository: Path
) -> None:
    content = twin.path.read_bytes()
    other = dataclasses.replace(FEW, seed=1)

    with pytest.raises(ExportError, match="holds another model already"):
        quantize(source, data_set, other, repository)

    assert twin.path.read_bytes() == content


def test_a_model_in_narrower_numbers_is_refused(twin: QuantizeResult, half: QuantizeResult) -> None:
    with pytest.raises(QuantizeError, match="is int8 already"):
        read_float_model(twin.path)
    with pytest.raises(QuantizeError, match="is float16 already"):
        read_float_model(half.path)


def test_a_file_of_another_signature_is_refused(tmp_path: Path) -> None:
    tensors = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 10]) for name in "ab"
    ]
    node = onnx.helper.make_node("Softmax", ["a"], ["b"])
    graph = onnx.helper.make_graph([node], "g", tensors[:1], tensors[1:])
    opsets = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "other.onnx")

    with pytest.raises(CheckpointError, match="has inputs and outputs"):
        read_float_model(tmp_path / "other.onnx")


def test_a_file_that_names_no_model_is_refused(source: FloatModel, tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match="does not name its model"):
        read_float_model(_changed(source, tmp_path / "model.onnx", model=None))


class _Reader(nn.Module):
    """An LSTM over rows."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(96, 8, batch_first=True)
        self.fc = nn.Linear(8, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.lstm(images.float().flatten(2) / 255)[0][:, -1])
        return logits


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the exporter, on a batch size for LSTM
def test_a_recurrent_network_is_refused(source: FloatModel, data_set: DataSet, tmp_path: Path) -> None:
    path = tmp_path / "reader.onnx"
    onnx.save(_to_onnx(_Reader().eval()), path)
    recurrent = read_float_model(
        _changed(FloatModel(path, onnx.load(path), source.metadata, "", source.predict), path)
    )

    with pytest.raises(QuantizeError, match="no int8 kernels for the others"):
        quantize(recurrent, data_set, FEW, tmp_path / "root")


def test_too_few_training_images_are_refused(source: FloatModel, data_set: DataSet, tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match="has 250 images besides those held out, wanted at least the 251"):
        quantize(source, data_set, QuantizeConfig(calibration_images=251), tmp_path)


def test_a_model_that_does_not_say_what_was_held_out_gets_the_default(
    source: FloatModel, data_set: DataSet, tmp_path: Path
) -> None:
    silent = read_float_model(_changed(source, tmp_path / "model.onnx", recipe=None))

    assert source.validation_per_class == 5
    assert silent.validation_per_class is None
    with pytest.raises(QuantizeError, match="has 290 images besides those held out"):
        quantize(
            silent,
            data_set,
            QuantizeConfig(calibration_images=300, validation_per_class=1),
            tmp_path / "root",
        )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"form": "int4"}, "form is 'int4', wanted one of int8, int8_openvino, fp16"),
        ({"weight_bits": 4}, "weight_bits is 4, wanted 7 or 8"),
        ({"calibration_images": 1}, "calibration_images is 1, wanted 10 to 50000"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TrainingError, match=sentence):
        QuantizeConfig(**settings)


def test_the_command_tells_what_was_lost(
    source: FloatModel, synthetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "quantize",
        str(source.path),
        "--data",
        str(synthetic),
        "--cache-dir",
        str(tmp_path / "cache"),
    ]
    with pytest.raises(SystemExit) as ended:
        cli([*arguments, "--to", str(tmp_path / "root"), "--calibration-images", "50"])

    told, complaints = capsys.readouterr()
    assert (ended.value.code, complaints) == (0, "")
    assert len(told.splitlines()) == len(METHODS) + 2
    assert f"wrote {tmp_path / 'root' / 'cifar10net_int8' / '1' / 'model.onnx'}, " in told
    assert "(float32 " in told


def test_twins_are_served_by_name(
    twin: QuantizeResult, half: QuantizeResult, repository: Path, test_split: Split, tmp_path: Path
) -> None:
    images = test_split.images[:50]

    with (
        ServerProcess("--models", str(repository), log=tmp_path / "log") as server,
        Client(server.address) as client,
    ):
        answers = {path: client.classify(images, model=path.parts[-3]) for path in (twin.path, half.path)}

    for path, results in answers.items():
        expected = predict_all(onnx_predictor(path), images)
        assert [result.classes[0].index for result in results] == expected.argmax(axis=1).tolist()
        assert json.loads((path.parent / "manifest.json").read_text())["golden"]
