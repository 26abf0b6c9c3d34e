"""``ModelInfer`` and ``ModelStreamInfer``: images as a tensor in, probabilities as a tensor out.

A request is checked against its model and batched with those of all other callers, whichever protocol they
use.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cifar10net.pb import inference_pb2 as pb
from service.errors import DeadlineError
from service.observability import server_timing
from service.observability.observers import Request
from service.servicers.inference.outputs import InferResponseWriter, parse_output_options
from service.servicers.inference.regions import find_region_slice
from service.servicers.inference.requests import (
    effective_deadline,
    parse_request,
    priority_of,
    required_name,
)
from service.servicers.inference.tensors import count_images, read_images
from service.servicers.replies import encode_field
from service.servicers.streaming import PipelinedStream

if TYPE_CHECKING:
    from service.batching.admission import Admission
    from service.batching.queue import Probabilities
    from service.observability.observers import Observer
    from service.repository import Repository, ServedModel
    from service.rpc.context import StreamContext, UnaryContext
    from service.rpc.status import Status
    from service.servicers.inference.regions import RegionRegistry

_RESPONSE = pb.ModelStreamInferResponse.DESCRIPTOR.fields_by_name["infer_response"].number
_FINAL = {"triton_final_response": pb.InferParameter(bool_param=True)}
_FINAL_ENCODED = pb.ModelInferResponse(parameters=_FINAL).SerializeToString()


class InferHandlers:
    """RPCs that run models on tensors."""

    def __init__(
        self,
        repository: Repository,
        admission: Admission,
        observer: Observer,
        regions: RegionRegistry | None,
        max_images: int,
    ) -> None:
        """Serve a repository and notify ``observer`` of each request.

        All protocols share ``admission``, so that its limit is the server's. ``regions`` is None if shared
        memory is off.
        """
        self._max_images = max_images
        self._repository = repository
        self._admission = admission
        self._observer = observer
        self._regions = regions

    async def infer(self, message: bytes, context: UnaryContext) -> bytes:
        """Run a model on the images of a request, or refuse the call if the server is full."""
        with Request(self._observer, context) as observed:
            request = parse_request(message)
            del message  # up to 32 MiB, and all of it is in the request
            response = await self._infer(request, observed, context.deadline_s, waits=False)
            if server_timing.REQUEST_KEY in context.metadata:
                context.trailing_metadata = server_timing.trailer(observed)
            return response

    async def stream_infer(self, context: StreamContext) -> None:
        """Run a model on request after request; each waits while the server is full."""
        await PipelinedStream(context, parse_request, self._infer_message, _encode_error).run()

    async def _infer_message(self, request: pb.ModelInferRequest, context: StreamContext) -> bytes:
        with Request(self._observer, context) as observed:
            response = await self._infer(request, observed, context.deadline_s, waits=True)
        return encode_field(_RESPONSE, response + _FINAL_ENCODED)

    async def _infer(
        self, request: pb.ModelInferRequest, observed: Request, call_deadline_s: float | None, *, waits: bool
    ) -> bytes:
        deadline_s = effective_deadline(request, asyncio.get_running_loop().time(), call_deadline_s)
        with self._repository.get(required_name(request.model_name), request.model_version) as model:
            observed.model = model.info
            observed.images = n = count_images(request, model.info, self._max_images)
            options = parse_output_options(request, model.info, n, self._regions)
            running = self._run(request, model, observed, deadline_s, waits=waits)
            if deadline_s == call_deadline_s:  # the call's own deadline ends it
                rows = await running
            else:
                try:
                    async with asyncio.timeout_at(deadline_s):
                        rows = await running
                except TimeoutError:
                    raise DeadlineError(
                        "the request's timeout passed before the response was ready"
                    ) from None
            return model.writer(InferResponseWriter).write(rows, request.id, options)

    async def _run(
        self,
        request: pb.ModelInferRequest,
        model: ServedModel,
        observed: Request,
        deadline_s: float | None,
        *,
        waits: bool,
    ) -> Probabilities:
        tensor, priority = request.inputs[0], priority_of(request)
        memory = find_region_slice(tensor.parameters, f"input {tensor.name}", self._regions)
        if waits:
            await self._admission.wait_for_capacity(observed.images)
        with self._admission.admit(observed.images):
            images = read_images(request, observed.images, memory)
            return await model.batcher.submit(
                images, deadline_s=deadline_s, priority=priority, timing=observed
            )


def _encode_error(request: pb.ModelInferRequest | None, status: Status) -> bytes:
    response = pb.ModelInferResponse(id=request.id if request else "", parameters=_FINAL)
    message = pb.ModelStreamInferResponse(error_message=status.message, infer_response=response)
    return message.SerializeToString()
