"""One ``.onnx`` file in ONNX Runtime: a uint8 batch becomes class probabilities.

The only module that imports onnxruntime. The file is trusted for nothing: its signature, labels and
answers are checked before it is used.
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

# From 1.29 on its builds for Linux tell Microsoft of every session, write an identifier into the home folder,
# and hold up the end of a process that cannot reach the collector. It looks at this when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
try:
    import onnxruntime
except ImportError:  # the client lives without it
    onnxruntime = None

if TYPE_CHECKING:
    import numpy.typing as npt

_LOG_FATAL_ONLY = 4
# y = x + x, of one float32: what a test makes anew with onnx and compares.
_TINY_MODEL = bytes.fromhex(
    "08083a380a0e0a01780a01781201792203416464120474696e795a0f0a0178120a0a08080112040a020801"
    "620f0a0179120a0a08080112040a02080142040a00100d"
)
# y = x W, of four float32, by way of uint8 and int8: two products of 255 and 127 leave 16 bits.
_PAIRS_MODEL = bytes.fromhex(
    "08083aef010a220a01780a036f6e650a047a65726f12027871220e5175616e74697a654c696e6561720a250a0278710a036f"
    "6e650a047a65726f12027864221044657175616e74697a654c696e6561720a250a01770a036f6e650a05777a65726f120277"
    "64221044657175616e74697a654c696e6561720a130a0278640a02776412017922064d61744d756c1201702a0d100142036f"
    "6e654a040000803f2a0b100242047a65726f4a01002a0f0804080110034201774a047f7f7f7f2a0c10034205777a65726f4a"
    "01005a130a0178120e0a0c080112080a0208010a02080462130a0179120e0a0c080112080a0208010a02080142040a00100d"
)
_LIGHT = 255
_PAIRS_SUM = 4 * _LIGHT * 127
# Asks for exact sums of int8 products on x86 processors without VNNI. Their kernels for uint8 times int8 add
# products pair by pair in 16 bits, which saturate; with it, weights become uint8, whose kernels widen first.
# It changes nothing elsewhere. Before 1.30 it ends the process at a MatMulInteger without zero points.
_EXACT_INT8 = "session.x64quantprecision"
_EXACT_SINCE = (1, 30)
_SUM_TOLERANCE = 1e-3
_LONGEST_REASON = 600  # characters: ONNX Runtime names its own source files before it comes to the point


def runtime_version() -> str:
    """Return the version of ONNX Runtime; empty where it is not installed."""
    return "" if onnxruntime is None else str(onnxruntime.__version__)


@dataclass(frozen=True)
class ModelFile:
    """A model file as it was read, once: the bytes that were looked at are the bytes that are loaded."""

    path: Path
    """Where it was read, for messages."""
    name: str
    """Of the model in its repository."""
    version: int
    content: bytes
    is_verified: bool = False
    """Whether a manifest says that these are the bytes."""

    @cached_property
    def sha256(self) -> str:
        """Digest of the content, in hexadecimal digits."""
        return sha256(self.content).hexdigest()


@dataclass(frozen=True)
class ModelInfo:
    """What a loaded model is."""

    name: str
    version: int
    labels: tuple[str, ...]
    provider: str
    """The execution provider that is active, by ONNX Runtime's name."""
    metadata: dict[str, str]
    input_name: str = "images"
    output_name: str = "probabilities"
    sha256: str | None = None
    """Of the model's file, in hexadecimal digits; None for a model that is no file."""
    is_verified: bool = False
    """Whether a manifest vouched for the file and its answers."""
    caution: str = ""
    """What is wrong with its answers on this machine, and what to do about it; empty if nothing is known."""


def try_provider(provider: ProviderConfig) -> str:
    """Make a session of a tiny model on a provider, and run it once.

    Returns:
        The execution provider that is active, by ONNX Runtime's name: the one that was asked for.

    Raises:
        ProviderError: it is not installed, or another one became active.
        ModelError: it cannot load or run even this.
    """
    session = open_session(ModelFile(Path("a tiny model"), "tiny", 1, _TINY_MODEL), provider, 1)
    try:
        (answer,) = session.run(None, {"x": np.ones(1, np.float32)})
    except Exception as error:  # onnxruntime's own types share no base but Exception
        raise ModelError(f"the provider {provider.name} cannot run a tiny model: {_reason(error)}") from error
    if answer.tolist() != [2]:
        raise ModelError(f"the provider {provider.name} says that 1 + 1 is {answer.tolist()}, wanted 2")
    return str(session.get_providers()[0])


@cache
def saturates(provider: ProviderConfig, *, is_exact: bool = True) -> bool:
    """Whether sums of int8 products are cut off at 16 bits: by what a tiny model answers, tried once.

    Args:
        provider: what runs it; one that cannot run even this counts as exact.
        is_exact: whether exact sums are asked for, as far as this ONNX Runtime can be asked.
    """
    file = ModelFile(Path("a tiny model"), "pairs", 1, _PAIRS_MODEL)
    try:
        session = open_session(file, provider, 1, is_exact=is_exact)
        (answer,) = session.run(None, {"x": np.full((1, 4), _LIGHT, np.float32)})
    except Exception:  # noqa: BLE001 - onnxruntime's own types share no base but Exception
        return False
    return bool(abs(answer.item() - _PAIRS_SUM) > _PAIRS_SUM / _LIGHT)


def why_saturating() -> str:
    """Name what this machine lacks, where sums saturate."""
    if platform.machine() in {"x86_64", "AMD64"}:
        return "this CPU has no VNNI, or this ONNX Runtime does not use it"
    return "this CPU adds products in 16 bits"


class OnnxModel:
    """A loaded model; ``run`` may be called from one thread at a time."""

    def __init__(self, file: ModelFile, provider: ProviderConfig, threads: int) -> None:
        """Load and check a model file.

        Args:
            file: the ``.onnx`` file.
            provider: what runs it.
            threads: threads of one run.

        Raises:
            ModelError: the file is damaged, or its inputs, outputs or labels are not those of an image
                classifier of ours.
            ProviderError: the provider is not installed, or not the one that became active.
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
        # A run that fails raises what it would log, beside our log and as often as callers like.
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
            _caution(file, provider, self._session),
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
        """Give back what the session holds, at the end of a run that is under way; there is no run after."""
        self._session = None

    def warm_up(self, batch: int) -> None:
        """Run the smallest and the largest batch once, and check that probabilities come out.

        Raises:
            ModelError: a run failed, or its answer is not a row of probabilities an image.
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


def likeliest(answers: npt.NDArray[np.float32], top_k: int) -> npt.NDArray[np.intp]:
    """Rank the classes of each image: the one rule of everything that answers with classes.

    Args:
        answers: probabilities (n, classes).
        top_k: classes an image; fewer if the model has fewer.

    Returns:
        Indices (n, top_k), best first, equal ones by index.
    """
    ranked: npt.NDArray[np.intp] = (-answers).argsort(axis=1, kind="stable")[:, :top_k]
    return ranked


def open_session(file: ModelFile, provider: ProviderConfig, threads: int, *, is_exact: bool = True) -> Any:  # noqa: ANN401 - no types
    """Load any ``.onnx`` file in ONNX Runtime.

    Args:
        file: looked at no further.
        provider: what runs it.
        threads: of one run.
        is_exact: whether to ask for exact sums of int8 products. A file that cannot be loaded so is loaded
            without: where two nodes share a weight or a zero point, ONNX Runtime 1.32 cannot make it exact.

    Raises:
        ModelError: the provider cannot load it.
        ProviderError: the provider is not installed, or not the one that became active.
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
    options.log_severity_level = _LOG_FATAL_ONLY  # what it would log of a file, it raises too
    # A waiting pool must not burn the cores that requests are decoded on.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(_EXACT_INT8, "1" if is_exact else "0")
    # Weights outside the file would be looked for from the working directory on, unseen by any check: there
    # is nothing in this folder, which is none.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/dev/null")
    try:
        # No fallback to another provider: not at the start, and not when a run fails.
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
    """Whether ONNX Runtime is of this version or a newer one."""
    numbers = re.match(r"(\d+)\.(\d+)", runtime_version())
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= version


def _caution(file: ModelFile, provider: ProviderConfig, session: Any) -> str:  # noqa: ANN401 - no types
    """Say whether a file's int8 weights and this machine's arithmetic give other answers than elsewhere."""
    is_exact = session.get_session_options().get_session_config_entry(_EXACT_INT8) == "1"
    # A device adds exactly; what it leaves to the CPU, the CPU's kernels add.
    adding = ProviderConfig() if provider.name in ON_DEVICE else provider
    if not saturates(adding, is_exact=is_exact) or largest_int8_weight(file.content) <= LARGEST_PORTABLE:
        return ""
    mend = "quantise it to 7-bit weights (cifar10net-train quantize)"
    if provider.name != "cpu" or not _is_since(_EXACT_SINCE):
        mend += ", or serve it with --provider cpu and onnxruntime 1.30 or newer, which adds exactly"
    return (
        f"its 8-bit weights make sums of products saturate on the provider {provider.name}, because "
        f"{why_saturating()}, so its answers are worse: {mend}"
    )


def _check_signature(session: Any, path: Path) -> tuple[str, str, int]:  # noqa: ANN401 - no types
    """Return the names of input and output and the number of classes."""
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
