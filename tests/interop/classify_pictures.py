"""A rewrite of the public example ``image_client.py``.

It looks at a model, then has it classify picture files, in batches, by one of three ways to ask. Run by
the interpreter of the Triton client's environment; prints a JSON array for each image of each batch.
"""

from __future__ import annotations

import argparse
import json
import queue
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.http  # noqa: F401 - the example imports it, whether it is used or not
from PIL import Image
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype


class Model:
    """What is to be known of a model before pictures are sent; refuses one that is no image classifier."""

    def __init__(self, metadata: Any, config: Any) -> None:
        (self.input,), (self.output,), (form,) = metadata.inputs, metadata.outputs, config.input
        if self.output.datatype != "FP32" or sum(size > 1 for size in self.output.shape[1:]) > 1:
            raise SystemExit(f"output {self.output.name} is no vector of FP32")
        if config.max_batch_size < 1 or len(self.input.shape) != 4:
            raise SystemExit(f"input {self.input.name} is no batch of images")
        if form.format != model_config_pb2.ModelInput.FORMAT_NHWC:
            raise SystemExit(f"input {self.input.name} does not say that it is FORMAT_NHWC")
        self.height, self.width, self.channels = self.input.shape[1:]

    def read(self, path: Path) -> np.ndarray:
        """Make of a picture what the model takes."""
        picture = Image.open(path).convert("RGB").resize((self.width, self.height), Image.Resampling.BILINEAR)
        return np.asarray(picture).astype(triton_to_np_dtype(self.input.datatype))


def batches(count: int, size: int) -> list[list[int]]:
    """Number the pictures of each batch; the last one is filled up from the beginning."""
    numbers = cycle(range(count))
    return [list(islice(numbers, size)) for _ in range(-(-count // size))]


def ask(client: Any, name: str, model: Model, way: str, stacks: list[np.ndarray], classes: int) -> list[Any]:
    """Return a result for each batch, in order."""
    answers: queue.Queue[Any] = queue.Queue()
    if way == "streaming":
        client.start_stream(lambda result, error: answers.put((result, error)))
    for number, stack in enumerate(stacks, 1):
        tensor = triton.InferInput(model.input.name, stack.shape, model.input.datatype)
        tensor.set_data_from_numpy(stack)
        about = {
            "request_id": str(number),
            "outputs": [triton.InferRequestedOutput(model.output.name, class_count=classes)],
        }
        if way == "streaming":
            client.async_stream_infer(name, [tensor], **about)
        elif way == "async":
            client.async_infer(name, [tensor], lambda result, error: answers.put((result, error)), **about)
        else:
            answers.put((client.infer(name, [tensor], **about), None))
    if way == "streaming":
        client.stop_stream()
    results = {}
    for _ in stacks:
        result, error = answers.get(timeout=60)
        if error is not None:
            raise error
        results[int(result.get_response().id)] = result
    return [results[number] for number in sorted(results)]


def main() -> None:
    """Ask about each picture of a folder, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--way", choices=["sync", "async", "streaming"], default="sync")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--classes", type=int, default=1)
    parser.add_argument("folder", type=Path)
    flags = parser.parse_args()
    client = triton.InferenceServerClient(flags.address)
    model = Model(client.get_model_metadata(flags.model), client.get_model_config(flags.model).config)
    paths = sorted(flags.folder.iterdir())
    pictures = [model.read(path) for path in paths]
    numbers = batches(len(paths), flags.batch)
    stacks = [np.stack([pictures[number] for number in batch]) for batch in numbers]
    results = ask(client, flags.model, model, flags.way, stacks, flags.classes)
    for batch, result in zip(numbers, results, strict=True):
        for number, words in zip(batch, result.as_numpy(model.output.name), strict=True):
            print(json.dumps([paths[number].name, [word.decode().split(":") for word in words]]))


if __name__ == "__main__":
    main()
