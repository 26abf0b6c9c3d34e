"""Calls a server by KServe's own Python client, and prints the answers as JSON.

Run by the interpreter of that client's environment: ``ask_kserve.py ADDRESS IMAGES``, where IMAGES is a .npy
file of uint8 (n, 32, 32, 3).
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

MODEL = "cifar10net"


def _request(images: np.ndarray, model: str = MODEL, *, raw: bool = True, datatype: str = "UINT8") -> Any:
    values = images if raw else images.ravel().tolist()
    tensor = InferInput("images", list(images.shape), datatype, data=values)
    return InferRequest(model, [tensor], request_id="an id", parameters={"mine": "x"})


async def _infer(client: InferenceGRPCClient, request: Any) -> Any:
    response = await client.infer(request)
    (output,) = response.outputs
    return {
        "rows": output.as_numpy().tolist(),
        "id": response.id,
        "model": [response.model_name, response.model_version],
        "output": [output.name, output.datatype, list(output.shape)],
    }


async def _error(asking: Any) -> str:
    try:
        await asking
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


async def main() -> None:
    """Ask, and print."""
    logging.disable(logging.CRITICAL)  # it logs what it raises
    address, path = sys.argv[1:]
    images = np.load(path)
    async with InferenceGRPCClient(address) as client:
        answers = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready(MODEL),
            "other ready": await client.is_model_ready("other"),
            "raw": await _infer(client, _request(images)),
            "contents": await _infer(client, _request(images, raw=False)),
            "many": len((await _infer(client, _request(np.resize(images, (4096, 32, 32, 3)))))["rows"]),
            "unknown model": await _error(client.infer(_request(images, "other"))),
            "wrong datatype": await _error(
                client.infer(_request(images.astype(np.float32), datatype="FP32"))
            ),
        }
    print(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(main())
