"""``ModelInfer`` and ``ModelStreamInfer``: images as a tensor in, probabilities as a tensor out.

A request is checked against the model that it asks, counted in, and joined with those of all other callers in
the model's batcher, whichever protocol they came by.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cifar10net.pb import inference_pb2 as pb
from service.errors import DeadlineError
from service.observability import server_timing
from service.observability.observers import Request
from service.servicers.inference.outputs import ResponseWriter, read_wanted
from service.servicers.inference.regions import find_span
from service.servicers.inference.requests import deadline_of, parse_request, priority_of, required_name
from service.servicers.inference.tensors import count_images, read_images
from service.servicers.replies import field
from service.servicers.streaming import Conversation

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from service.batching.admission import Admission
    from service.batching.queue import Probabilities
    from service.observability.observers import Observer
    from service.repository import Repository, ServedModel
    from service.rpc.context import StreamContext, UnaryContext
    from service.rpc.status import Status
    from service.servicers.inference.regions import Regions

_RESPONSE = pb.ModelStreamInferResponse.DESCRIPTOR.fields_by_name["infer_response"].number
_FINAL = {"triton_final_response": pb.InferParameter(bool_param=True)}
_IS_FINAL = pb.ModelInferResponse(parameters=_FINAL).SerializeToString()


class Inference:
    """Runs models for tensors."""

    def __init__(
        self,
        repository: Repository,
        admission: Admission,
        observer: Observer,
        regions: Regions | None,
        max_images: int,
    ) -> None:
        """Answer by the models of a repository.

        Args:
            repository: has them.
            admission: the door that the callers of all protocols go through.
            observer: is told of each request.
            regions: shared memory that requests may refer to; None if they may not.
            max_images: that a call may have.
        """
        self._max_images = max_images
        self._repository = repository
        self._admission = admission
        self._observer = observer
        self._regions = regions

    async def infer(self, message: bytes, call: UnaryContext) -> bytes:
        """Answer as the proto says."""
        with Request(self._observer, call) as observed:
            request = parse_request(message)
            del message  # up to 32 MiB, and all of it is in the request
            reply = await self._answer(request, observed, call.deadline_s, waits=False)
            if server_timing.WISH in call.metadata:
                call.trailing_metadata = server_timing.trailer(observed)
            return reply

    async def stream_infer(self, call: StreamContext) -> None:
        """Answer as the proto says."""
        await Conversation(call, parse_request, self._answer_message, _refusal).run()

    async def _answer_message(self, request: pb.ModelInferRequest, call: StreamContext) -> bytes:
        """Answer one request of a stream, which waits for room instead of being refused."""
        with Request(self._observer, call) as observed:
            response = await self._answer(request, observed, call.deadline_s, waits=True)
        return field(_RESPONSE, response + _IS_FINAL)

    async def _answer(
        self, request: pb.ModelInferRequest, observed: Request, call_deadline_s: float | None, *, waits: bool
    ) -> bytes:
        deadline_s = deadline_of(request, asyncio.get_running_loop().time(), call_deadline_s)
        with self._repository.get(required_name(request.model_name), request.model_version) as model:
            observed.model = model.info
            observed.images = n = count_images(request, model.info, self._max_images)
            wanted = read_wanted(request, model.info, n, self._regions)
            answering = self._run(request, model, observed, deadline_s, waits=waits)
            if deadline_s == call_deadline_s:  # the call itself ends then
                rows = await answering
            else:
                rows = await _until(deadline_s, answering)
            return model.writer(ResponseWriter).write(rows, request.id, wanted)

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
        span = find_span(tensor.parameters, f"input {tensor.name}", self._regions)
        if waits:
            await self._admission.room(observed.images)
        with self._admission.admit(observed.images):
            images = read_images(request, observed.images, span)
            return await model.batcher.submit(
                images, deadline_s=deadline_s, priority=priority, timing=observed
            )


async def _until(deadline_s: float | None, answering: Coroutine[None, None, Probabilities]) -> Probabilities:
    """Wait for an answer no longer than until then."""
    try:
        async with asyncio.timeout_at(deadline_s):
            return await answering
    except TimeoutError:
        raise DeadlineError("the request's timeout passed before the answer was ready") from None


def _refusal(request: pb.ModelInferRequest | None, status: Status) -> bytes:
    """Encode the answer to a request of a stream that was refused."""
    response = pb.ModelInferResponse(id=request.id if request else "", parameters=_FINAL)
    reply = pb.ModelStreamInferResponse(error_message=status.message, infer_response=response)
    return reply.SerializeToString()
