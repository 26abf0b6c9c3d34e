"""Calls a server by the public Triton client in every way it offers, and prints the answers as JSON.

Run by the interpreter of that client's environment: ``ask_triton.py ADDRESS IMAGES QUESTION...``, where
IMAGES is a .npy file of uint8 (n, 32, 32, 3).
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException, shared_memory

MODEL = "cifar10net"
INPUT, OUTPUT = "images", "probabilities"


def about(client: triton.InferenceServerClient, _: np.ndarray) -> Any:
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready(MODEL),
        "version ready": client.is_model_ready(MODEL, "1"),
        "other ready": client.is_model_ready("other"),
        "server": client.get_server_metadata(as_json=True),
        "model": client.get_model_metadata(MODEL, as_json=True),
        "config": client.get_model_config(MODEL, as_json=True),
    }


def plain(client: triton.InferenceServerClient, images: np.ndarray) -> Any:
    result = client.infer(MODEL, _inputs(images), model_version="1", request_id="an id")
    response = result.get_response()
    return {
        "rows": _rows(result),
        "id": response.id,
        "model": [response.model_name, response.model_version],
        "entries": [len(response.outputs), len(response.raw_output_contents)],
    }


def classes(client: triton.InferenceServerClient, images: np.ndarray) -> Any:
    outputs = [triton.InferRequestedOutput(OUTPUT, class_count=3)]
    answer = client.infer(MODEL, _inputs(images), outputs=outputs).as_numpy(OUTPUT)
    return [[word.decode() for word in row] for row in answer]


def compressed(client: triton.InferenceServerClient, images: np.ndarray) -> Any:
    return {
        way: _rows(client.infer(MODEL, _inputs(images), compression_algorithm=way))
        for way in ("gzip", "deflate")
    }


def with_parameters(client: triton.InferenceServerClient, images: np.ndarray) -> Any:
    """As C++ clients and users do."""
    result = client.infer(
        MODEL,
        _inputs(images),
        priority=2,
        timeout=60_000_000,
        sequence_id=7,
        sequence_start=True,
        sequence_end=True,
        parameters={"mine": "x", "whole": 1, "half": 0.5, "is": True},
    )
    return _rows(result)


def as_cpp(client: triton.InferenceServerClient, images: np.ndarray) -> Any:
    """The message that the C++ client sends."""
    request = pb.ModelInferRequest(model_name=MODEL, id="1", raw_input_contents=[images.tobytes()])
    request.parameters["triton_enable_empty_final_response"].bool_param = False
    request.inputs.add(name=INPUT, datatype="UINT8", shape=images.shape)
    request.outputs.add(name=OUTPUT)
    response = service_pb2_grpc.GRPCInferenceServiceStub(client._channel).ModelInfer(request)
    return _rows(triton.InferResult(response))


def asynchronous(client: triton.InferenceServerClient, images: np.ndarray) -> Any:
    """Many calls at a time, each of one image."""
    answers: queue.Queue[Any] = queue.Queue()
    for index, image in enumerate(images):
        callback = partial(_note, answers)
        client.async_infer(MODEL, _inputs(image[np.newaxis]), callback, request_id=str(index))
    rows = {}
    for _ in images:
        result, error = answers.get(timeout=60)
        if error is not None:
            raise error
        rows[int(result.get_response().id)] = _rows(result)[0]
    return [rows[index] for index in range(len(images))]


def stream(client: triton.InferenceServerClient, images: np.ndarray) -> Any:
    """A stream of single images, with an error in its middle."""
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(partial(_note, answers))
    for index, image in enumerate(images):
        client.async_stream_infer(
            MODEL, _inputs(image[np.newaxis]), request_id=str(index), enable_empty_final_response=True
        )
        if index == 1:
            client.async_stream_infer("other", _inputs(image[np.newaxis]), request_id="wrong")
    client.stop_stream()
    told = [answers.get(timeout=60) for _ in range(len(images) + 1)]
    good = [result for result, error in told if error is None]
    return {
        "ids": [result.get_response().id for result in good],
        "rows": [_rows(result)[0] for result in good],
        "final": all(result.get_response().parameters["triton_final_response"].bool_param for result in good),
        "error at": [index for index, (_, error) in enumerate(told) if error is not None],
        "error": [error.message() for _, error in told if error is not None],
    }


def aio(_: triton.InferenceServerClient, images: np.ndarray) -> Any:
    """The client for asyncio: a call, and a stream."""

    async def ask() -> Any:
        async with triton_aio.InferenceServerClient(sys.argv[1]) as asking:
            plain = await asking.infer(MODEL, _aio_inputs(images))
            rows = []

            async def requests() -> Any:
                for image in images:
                    yield {"model_name": MODEL, "inputs": _aio_inputs(image[np.newaxis])}

            async for result, error in asking.stream_infer(requests()):
                if error is not None:
                    raise error
                rows.append(_rows(result)[0])
        return {"plain": _rows(plain), "stream": rows}

    return asyncio.run(ask())


def many(client: triton.InferenceServerClient, images: np.ndarray) -> Any:
    """More than grpcio takes by default."""
    rows = client.infer(MODEL, _inputs(np.resize(images, (4096, 32, 32, 3)))).as_numpy(OUTPUT)
    return [list(rows.shape), rows[: len(images)].tolist()]


def memory(client: triton.InferenceServerClient, images: np.ndarray) -> Any:
    """As the public shared memory examples: forget all, register, ask, look, forget."""
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    size, room = images.nbytes, len(images) * 10 * 4
    keys = [f"/cifar10net_{uuid4().hex}" for _ in range(2)]
    given = shared_memory.create_shared_memory_region("given", keys[0], size)
    taken = shared_memory.create_shared_memory_region("taken", keys[1], 64 + room)
    try:
        shared_memory.set_shared_memory_region(given, [images])
        client.register_system_shared_memory("given", keys[0], size)
        client.register_system_shared_memory("taken", keys[1], 64 + room)
        regions = client.get_system_shared_memory_status(as_json=True)["regions"]
        inputs = [triton.InferInput(INPUT, images.shape, "UINT8")]
        inputs[0].set_shared_memory("given", size)
        outputs = [triton.InferRequestedOutput(OUTPUT)]
        outputs[0].set_shared_memory("taken", room, offset=64)
        tensor = client.infer(MODEL, inputs, outputs=outputs).get_output(OUTPUT)
        rows = shared_memory.get_contents_as_numpy(taken, np.float32, tensor.shape, offset=64).tolist()
        client.unregister_system_shared_memory("given")
        left = client.get_system_shared_memory_status(as_json=True)["regions"]
        client.unregister_system_shared_memory()
        none = client.get_system_shared_memory_status(as_json=True)
    finally:
        shared_memory.destroy_shared_memory_region(given)
        shared_memory.destroy_shared_memory_region(taken)
    return {
        "rows": rows,
        "sizes": {name: int(region["byte_size"]) for name, region in regions.items()},
        "left": sorted(left),
        "none": none,
    }


def repository(client: triton.InferenceServerClient, images: np.ndarray) -> Any:
    """Unload a model, see that it is gone, and load it again."""
    before = client.get_model_repository_index(as_json=True)["models"]
    client.unload_model("colours")
    unloaded = client.is_model_ready("colours")
    gone = _error(lambda: client.infer("colours", _inputs(images)))
    meanwhile = client.get_model_repository_index(as_json=True)["models"]
    client.load_model("colours")
    rows = client.infer("colours", _inputs(images)).as_numpy(OUTPUT)
    return {
        "before": {model["name"]: model["state"] for model in before},
        "meanwhile": {model["name"]: model["state"] for model in meanwhile},
        "ready": [unloaded, client.is_model_ready("colours")],
        "gone": gone[0],
        "shape": list(rows.shape),
    }


def statistics(client: triton.InferenceServerClient, images: np.ndarray) -> Any:
    """As load generators do: look before and after."""
    before = client.get_inference_statistics(MODEL, as_json=True)
    for _ in range(5):
        client.infer(MODEL, _inputs(images))
    return [before, client.get_inference_statistics(MODEL, as_json=True)]


def errors(client: triton.InferenceServerClient, images: np.ndarray) -> Any:
    one = images[:1]
    classified = [triton.InferRequestedOutput(OUTPUT, class_count=-1)]
    floats = triton.InferInput(INPUT, one.shape, "FP32")
    floats.set_data_from_numpy(one.astype(np.float32))
    return {
        "model": _error(lambda: client.infer("other", _inputs(one))),
        "version": _error(lambda: client.infer(MODEL, _inputs(one), model_version="99")),
        "metadata": _error(lambda: client.get_model_metadata("other")),
        "config": _error(lambda: client.get_model_config("other")),
        "input": _error(lambda: client.infer(MODEL, _inputs(one, "other"))),
        "no input": _error(lambda: client.infer(MODEL, [])),
        "two inputs": _error(lambda: client.infer(MODEL, [*_inputs(one), *_inputs(one, "other")])),
        "datatype": _error(lambda: client.infer(MODEL, [floats])),
        "shape": _error(lambda: client.infer(MODEL, _inputs(one[:, :16]))),
        "output": _error(
            lambda: client.infer(MODEL, _inputs(one), outputs=[triton.InferRequestedOutput("other")])
        ),
        "classification": _error(lambda: client.infer(MODEL, _inputs(one), outputs=classified)),
        "timeout": _error(lambda: client.infer(MODEL, _inputs(images), timeout=1)),
        "region": _error(lambda: client.get_system_shared_memory_status("other")),
        "trace": _error(client.get_trace_settings),
    }


def _inputs(images: np.ndarray, name: str = INPUT) -> list[Any]:
    tensor = triton.InferInput(name, images.shape, "UINT8")
    tensor.set_data_from_numpy(images)
    return [tensor]


def _aio_inputs(images: np.ndarray) -> list[Any]:
    tensor = triton_aio.InferInput(INPUT, images.shape, "UINT8")
    tensor.set_data_from_numpy(images)
    return [tensor]


def _rows(result: Any) -> list[list[float]]:
    rows: list[list[float]] = result.as_numpy(OUTPUT).tolist()
    return rows


def _note(answers: queue.Queue[Any], result: Any, error: Any) -> None:
    answers.put((result, error))


def _error(ask: Any) -> list[str]:
    """Return the status and the message of what is to fail."""
    try:
        ask()
    except InferenceServerException as error:
        return [str(error.status()).removeprefix("StatusCode."), str(error.message())]
    return ["OK", ""]


def main() -> None:
    """Ask, and print."""
    address, path, *questions = sys.argv[1:]
    images = np.load(path)
    with triton.InferenceServerClient(address) as client:
        print(json.dumps({name: globals()[name](client, images) for name in questions}))


if __name__ == "__main__":
    main()
