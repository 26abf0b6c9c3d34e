"""An ONNX classifier in ONNX Runtime: a uint8 batch becomes class probabilities.

Model files are not trusted: signature, labels and answers are checked before a model is used.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifar10net.protocol import IMAGE_SIDE
from service.errors import ModelError, ProviderError
from service.runtime.providers import ON_DEVICE, PROVIDERS, ProviderConfig
from service.runtime.weights import LARGEST_PORTABLE, largest_int8_weight

# From 1.29 on, its Linux builds send telemetry of every session to Microsoft, write an identifier into the
# home folder, and delay the exit of a process that cannot reach the collector. This is read at import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
try:
    import onnxruntime
except ImportError:  # client-only installations have none
    onnxruntime = None

if TYPE_CHECKING:
    import numpy.typing as npt

_LOG_FATAL_ONLY = 4
# y = x + x, of one float32; a test builds it with onnx and compares.
_TINY_MODEL = bytes.fromhex(
    "08083a380a0e0a01780a01781201792203416464120474696e795a0f0a0178120a0a08080112040a020801"
    "620f0a0179120a0a08080112040a02080142040a00100d"
)
# y = x W, of four float32, quantised to uint8 and int8: the sum of two products 255 * 127 exceeds 16 bits.
_PAIRS_MODEL = bytes.fromhex(
    "08083aef010a220a01780a036f6e650a047a65726f12027871220e5175616e74697a654c696e6561720a250a0278710a036f"
    "6e650a047a65726f12027864221044657175616e74697a654c696e6561720a250a01770a036f6e650a05777a65726f120277"
    "64221044657175616e74697a654c696e6561720a130a0278640a02776412017922064d61744d756c1201702a0d100142036f"
    "6e654a040000803f2a0b100242047a65726f4a01002a0f0804080110034201774a047f7f7f7f2a0c10034205777a65726f4a"
    "01005a130a0178120e0a0c080112080a0208010a02080462130a0179120e0a0c080112080a0208010a02080142040a00100d"
)
_MAX_UINT8 = 255
_PAIRS_SUM = 4 * _MAX_UINT8 * 127
# Asks for exact sums of int8 products on x86 processors without VNNI. Their uint8 x int8 kernels add pairs of
# products in 16 bits, which saturates; with this option weights become uint8, whose kernels widen first. No
# effect on other processors. Before 1.30 it crashes the process at a MatMulInteger without zero points.
_EXACT_INT8 = "session.x64quantprecision"
_EXACT_SINCE = (1, 30)
_SUM_TOLERANCE = 1e-3
_LONGEST_REASON = 600  # characters: ONNX Runtime's messages begin with names of its source files


def runtime_version() -> str:
    """Return the version of ONNX Runtime, empty if it is not installed."""
    return "" if onnxruntime is None else str(onnxruntime.__version__)


@dataclass(frozen=True)
class ModelFile:
    """A model file, read once: the bytes that were verified are the bytes that are loaded."""

    path: Path
    """For messages."""
    name: str
    """Name of the model in its repository."""
    version: int
    content: bytes
    is_verified: bool = False
    """Whether a manifest has this content's size and digest."""

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of the content."""
        return sha256(self.content).hexdigest()


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a loaded model."""

    name: str
    version: int
    labels: tuple[str, ...]
    provider: str
    """ONNX Runtime's name of the active execution provider."""
    metadata: dict[str, str]
    input_name: str = "images"
    output_name: str = "probabilities"
    sha256: str | None = None
    """Hexadecimal digest of the model file; None for a model without one."""
    is_verified: bool = False
    """Whether file and answers were checked against a manifest."""
    warning: str = ""
    """A known fault of its answers on this machine, and the remedy; empty if there is none."""


def try_provider(provider: ProviderConfig) -> str:
    """Run a tiny model on a provider; return the provider's name in ONNX Runtime.

    Raises:
        ProviderError: the provider is not installed, or another one became active.
        ModelError: it cannot load or run the tiny model.
    """
    session = open_session(ModelFile(Path("a tiny model"), "tiny", 1, _TINY_MODEL), provider, 1)
    try:
        (answer,) = session.run(None, {"x": np.ones(1, np.float32)})
    except Exception as error:  # onnxruntime's own types share no base but Exception
        raise ModelError(f"the provider {provider.name} cannot run a tiny model: {_reason(error)}") from error
    if answer.tolist() != [2]:
        raise ModelError(f"the provider {provider.name} computes 1 + 1 = {answer.tolist()}, wanted 2")
    return str(session.get_providers()[0])


@cache
def saturates(provider: ProviderConfig, *, is_exact: bool = True) -> bool:
    """Return whether sums of int8 products saturate at 16 bits, as tried once with a tiny model.

    ``is_exact`` asks for exact sums, if this ONNX Runtime can. A provider that cannot run the model is exact.
    """
    file = ModelFile(Path("a tiny model"), "pairs", 1, _PAIRS_MODEL)
    try:
        session = open_session(file, provider, 1, is_exact=is_exact)
        (answer,) = session.run(None, {"x": np.full((1, 4), _MAX_UINT8, np.float32)})
    except Exception:  # noqa: BLE001 - onnxruntime's own types share no base but Exception
        return False
    return bool(abs(answer.item() - _PAIRS_SUM) > _PAIRS_SUM / _MAX_UINT8)


def why_saturating() -> str:
    """Return the reason why sums saturate on this machine."""
    if platform.machine() in {"x86_64", "AMD64"}:
        return "this CPU has no VNNI, or this ONNX Runtime does not use it"
    return "this CPU adds products in 16 bits"


class OnnxModel:
    """A loaded model; ``run`` is for one thread at a time."""

    def __init__(self, file: ModelFile, provider: ProviderConfig, threads: int) -> None:
        """Load and check a model file; ``threads`` is per run.

        Raises:
            ModelError: the file is damaged, or its inputs, outputs or labels are not those of one of our
                image classifiers.
            ProviderError: the provider is not installed, or another one became active.
        """
        path = file.path
        self._session = open_session(file, provider, threads)
        try:
            self._input, self._output, classes = _check_signature(self._session, path)
            metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:
            raise ModelError(
                f"{path} has damaged names or metadata, not UTF-8 text; export it again"
            ) from error
        labels = tuple(metadata.pop("labels", "").split(","))
        if len(labels) != classes or len(set(labels)) != classes or not all(labels):
            raise ModelError(
                f"{path} names {len(labels)} labels {labels} for {classes} classes, wanted a "
                "distinct name each in its metadata; export it again with cifar10net-train export"
            )
        # A failed run raises what it would log, to stderr and as often as callers provoke it.
        self._run_options = onnxruntime.RunOptions()
        self._run_options.log_severity_level = _LOG_FATAL_ONLY
        self.info = ModelInfo(
            file.name,
            file.version,
            labels,
            self._session.get_providers()[0],
            metadata,
            self._input,
            self._output,
            file.sha256,
            file.is_verified,
            _saturation_warning(file, provider, self._session),
        )

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Classify a batch.

        Args:
            images: uint8 (n, 32, 32, 3), n at least 1.

        Returns:
            float32 (n, classes): softmax probabilities.
        """
        probabilities: npt.NDArray[np.float32]
        (probabilities,) = self._session.run([self._output], {self._input: images}, self._run_options)
        return probabilities

    def close(self) -> None:
        """Free the session once its current run ends; do not run it again."""
        self._session = None

    def warm_up(self, batch: int) -> None:
        """Run batches of 1 and of ``batch`` images, and check that the answers are probabilities.

        Raises:
            ModelError: a run failed, or did not answer each image with a row of probabilities.
        """
        name = f"{self.info.name} version {self.info.version}"
        for n in (1, batch):
            images = np.linspace(0, 255, n * IMAGE_SIDE * IMAGE_SIDE * 3).astype(np.uint8)
            try:
                answer = self.run(images.reshape(n, IMAGE_SIDE, IMAGE_SIDE, 3))
            except Exception as error:  # onnxruntime's own types share no base but Exception
                raise ModelError(f"{name} failed its warm-up with {n} images: {_reason(error)}") from error
            sums = answer.sum(axis=1)
            if answer.shape != (n, len(self.info.labels)) or not np.allclose(sums, 1, atol=_SUM_TOLERANCE):
                raise ModelError(
                    f"{name} answered {answer.shape} with sums {sums[:3]} in its warm-up, wanted "
                    f"({n}, {len(self.info.labels)}) probabilities that sum to 1; it has no "
                    "softmax or damaged weights"
                )


def top_k_indices(answers: npt.NDArray[np.float32], top_k: int) -> npt.NDArray[np.intp]:
    """Return the indices (n, top_k) of the most probable classes, best first, ties by index.

    All services rank classes by this function. ``answers`` are probabilities (n, classes); if ``top_k``
    exceeds the number of classes, all are returned.
    """
    ranked: npt.NDArray[np.intp] = (-answers).argsort(axis=1, kind="stable")[:, :top_k]
    return ranked


def open_session(file: ModelFile, provider: ProviderConfig, threads: int, *, is_exact: bool = True) -> Any:  # noqa: ANN401 - no types
    """Load any ``.onnx`` file in ONNX Runtime, without a check of its signature; ``threads`` is per run.

    ``is_exact`` asks for exact sums of int8 products. A file that cannot be loaded so is loaded without: ONNX
    Runtime 1.32 fails where two nodes share a weight or a zero point.

    Raises:
        ModelError: the provider cannot load it.
        ProviderError: the provider is not installed, or another one became active.
    """
    if onnxruntime is None:
        raise ProviderError(
            "onnxruntime is not installed: pip install one of the extras cpu, gpu and openvino"
        )
    wanted = PROVIDERS[provider.name].name
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        raise ProviderError(
            f"provider {provider.name} needs {wanted}, and this onnxruntime "
            f"{onnxruntime.__version__} has {', '.join(available)}; install the extra "
            f"{PROVIDERS[provider.name].extra} instead, in an environment without the others"
        )
    try:
        session = _session(file, provider, threads, is_exact=is_exact and _is_since(_EXACT_SINCE))
    except Exception as error:
        raise ModelError(f"{file.path} cannot be loaded by {wanted}: {_reason(error)}") from error
    active = session.get_providers()[0]
    if active != wanted:
        # onnxruntime falls back to the CPU with no more than a warning (its issue 23372).
        raise ProviderError(
            f"provider {provider.name} was asked for and {active} is active: {wanted} could not start; "
            "check the drivers and libraries it needs"
        )
    return session


def _session(file: ModelFile, provider: ProviderConfig, threads: int, *, is_exact: bool) -> Any:  # noqa: ANN401
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_FATAL_ONLY  # errors are raised as well
    # Waiting threads must not spin on the cores that decode requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(_EXACT_INT8, "1" if is_exact else "0")
    # External weights would be read relative to the working directory, unchecked; /dev/null is no folder, so
    # none are found.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/dev/null")
    try:
        # No fallback to another provider, neither now nor when a run fails.
        return onnxruntime.InferenceSession(
            file.content,
            sess_options=options,
            providers=[(PROVIDERS[provider.name].name, provider.session_options(threads))],
            enable_fallback=0,
        )
    except Exception:  # onnxruntime's own types share no base but Exception
        if not is_exact:
            raise
        return _session(file, provider, threads, is_exact=False)


def _is_since(version: tuple[int, int]) -> bool:
    """Return whether ONNX Runtime has this version or a newer one."""
    numbers = re.match(r"(\d+)\.(\d+)", runtime_version())
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= version


def _saturation_warning(file: ModelFile, provider: ProviderConfig, session: Any) -> str:  # noqa: ANN401 - no types
    """Return a warning if the file's int8 weights saturate in this machine's arithmetic, else empty."""
    is_exact = session.get_session_options().get_session_config_entry(_EXACT_INT8) == "1"
    # Accelerators add exactly, but the operators that they leave to the CPU use its kernels.
    adding = ProviderConfig() if provider.name in ON_DEVICE else provider
    if not saturates(adding, is_exact=is_exact) or largest_int8_weight(file.content) <= LARGEST_PORTABLE:
        return ""
    remedy = "quantise it to 7-bit weights (cifar10net-train quantize)"
    if provider.name != "cpu" or not _is_since(_EXACT_SINCE):
        remedy += ", or serve it with --provider cpu and onnxruntime 1.30 or newer, which adds exactly"
    return (
        f"its 8-bit weights make sums of products saturate on the provider {provider.name}, because "
        f"{why_saturating()}, so its answers are worse: {remedy}"
    )


def _check_signature(session: Any, path: Path) -> tuple[str, str, int]:  # noqa: ANN401 - no types
    """Return the names of the input and the output, and the number of classes."""
    inputs = [(value.type, value.shape[1:]) for value in session.get_inputs()]
    outputs = [(value.type, value.shape[1:]) for value in session.get_outputs()]
    batched = all(not isinstance(value.shape[0], int) for value in session.get_inputs() if value.shape)
    if not (
        batched
        and inputs == [("tensor(uint8)", [IMAGE_SIDE, IMAGE_SIDE, 3])]
        and len(outputs) == 1
        and outputs[0][0] == "tensor(float)"
        and len(outputs[0][1]) == 1
        and isinstance(outputs[0][1][0], int)
    ):
        raise ModelError(
            f"{path} takes {inputs} and gives {outputs} behind a batch axis, wanted one uint8 "
            f"[batch,{IMAGE_SIDE},{IMAGE_SIDE},3] input of any batch size and one float32 "
            "[batch,classes] output"
        )
    return session.get_inputs()[0].name, session.get_outputs()[0].name, outputs[0][1][0]


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:_LONGEST_REASON]
