"""Every metric that the server has: its name, kind, labels, unit and meaning, in one table.

The exposition and the documentation are made from it. Knows nothing of how anything is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SECONDS_BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper ends of the buckets of all times, in seconds; one more has no end."""
IMAGES_BOUNDS = tuple(float(1 << power) for power in range(13))
"""Likewise of batch sizes, in images."""
OK = "ok"
FAILED = "failed"
BAD_IMAGE = "bad_image"
HIT = "hit"
MISS = "miss"
MODEL_LABELS = ("model", "version")


class Kind(Enum):
    """What becomes of a metric over time, and when the processes of a server are summed up."""

    COUNTER = "counter"
    """Only grows; what a process counted stays when it ends."""
    HISTOGRAM = "histogram"
    """Likewise, each bucket."""
    GAUGE = "gauge"
    """How things are; summed over the processes that live."""
    LATEST = "latest gauge"
    """When something happened last, in whichever process; stays when it ends."""
    INFO = "info"
    """Always 1: its labels are what it tells, of the processes that live."""


@dataclass(frozen=True)
class Metric:
    """A row of the table."""

    name: str
    """Without the prefix."""
    kind: Kind
    labels: tuple[str, ...]
    help: str
    unit: str = ""
    """Base unit, with which the name ends, the suffix of counters aside."""
    bounds: tuple[float, ...] = ()
    """Upper ends of a histogram's buckets."""

    @property
    def full_name(self) -> str:
        """What it is called outside."""
        return f"cifar10net_{self.name}"


def _seconds(name: str, labels: tuple[str, ...], meaning: str) -> Metric:
    return Metric(name, Kind.HISTOGRAM, labels, meaning, "seconds", SECONDS_BOUNDS)


CALLS = Metric(
    "calls_total",
    Kind.COUNTER,
    ("method", "code"),
    "Calls that are over, by gRPC status code. CANCELLED: the client gave up or its connection ended.",
)
CALL_DURATION = _seconds(
    "call_duration_seconds",
    ("method",),
    "From a call's head to its end; of a streaming call its whole life.",
)
REQUESTS = Metric(
    "requests_total",
    Kind.COUNTER,
    (*MODEL_LABELS, "outcome"),
    "Requests for predictions that are over: a call with one, or a message of a stream. The outcome is ok or "
    "the gRPC status in lower case; model and version are empty if the model was not known yet.",
)
IMAGES = Metric(
    "images_total",
    Kind.COUNTER,
    (*MODEL_LABELS, "outcome"),
    "Images of those requests: ok, bad_image if it could not be read, else the outcome of its request.",
    "images",
)
REQUEST_DURATION = _seconds(
    "request_duration_seconds",
    (*MODEL_LABELS, "outcome"),
    "From a request's message being looked at to its answer being made (outcome ok) or refused (failed).",
)
DECODE = _seconds(
    "decode_seconds",
    MODEL_LABELS,
    "Of a request with pictures: from the first being given to the decoder threads to the last being read.",
)
QUEUE = _seconds(
    "queue_seconds",
    MODEL_LABELS,
    "From a request's images being given to the batcher to the first of them being taken into a batch, or "
    "to the request's end if none was.",
)
BATCH_WAIT = _seconds(
    "batch_wait_seconds",
    MODEL_LABELS,
    "From a request's first image being taken into a batch to the end of its last run, less its compute "
    "time: the way to the model's thread and, of a request of several batches, the time between them.",
)
COMPUTE = _seconds(
    "compute_seconds",
    MODEL_LABELS,
    "How long at least one run with images of a request was going, other requests' images included.",
)
REPLY = Metric(
    "reply_seconds_total",
    Kind.COUNTER,
    MODEL_LABELS,
    "From the end of a request's last run to its answer being made, of the requests in compute_seconds.",
    "seconds",
)
RUNS = Metric(
    "runs_total", Kind.COUNTER, MODEL_LABELS, "Batches that the model has run, failed ones included."
)
RUN_TIME = Metric(
    "run_seconds_total",
    Kind.COUNTER,
    MODEL_LABELS,
    "How long they took, all sessions of the model together.",
    "seconds",
)
BATCH_IMAGES = Metric(
    "batch_images", Kind.HISTOGRAM, MODEL_LABELS, "Images in each of these batches.", "images", IMAGES_BOUNDS
)
CACHE_IMAGES = Metric(
    "cache_images_total",
    Kind.COUNTER,
    (*MODEL_LABELS, "result"),
    "Images of answered requests that were looked up in the response cache: hit or miss; none without "
    "--cache-mib.",
    "images",
)
CACHE_REQUESTS = Metric(
    "cache_requests_total",
    Kind.COUNTER,
    (*MODEL_LABELS, "result"),
    "Their requests: hit if all of the images were known, else miss.",
)
WAITING_IMAGES = Metric(
    "waiting_images", Kind.GAUGE, MODEL_LABELS, "Images that wait to be taken into a batch.", "images"
)
ADMITTED_IMAGES = Metric(
    "admitted_images",
    Kind.GAUGE,
    (),
    "Images admitted and not yet answered, those that wait included (--max-pending-images, a worker).",
    "images",
)
CONNECTIONS = Metric(
    "connections", Kind.GAUGE, (), "Open connections of clients (--max-connections, a worker)."
)
ACTIVE_CALLS = Metric("active_calls", Kind.GAUGE, (), "Calls under way, streams included.")
ACTIVE_STREAMS = Metric("active_streams", Kind.GAUGE, (), "Streaming calls under way.")
HELD_BYTES = Metric(
    "held_bytes", Kind.GAUGE, (), "Of requests under way (--max-pending-mib, a worker).", "bytes"
)
REFUSALS = Metric(
    "refusals_total",
    Kind.COUNTER,
    ("event", "reason"),
    "What was refused, as the log has it: of calls and messages of streams the status code, of requests that "
    "are no call of any method HEAD, of connections why they were turned away or broken off.",
)
MODEL_EVENTS = Metric(
    "model_events_total",
    Kind.COUNTER,
    ("model", "event"),
    "What became of versions, in each process of the server: loaded, refused or retired. After a thousand "
    "names of models, the model is other.",
)
LAST_REQUEST = Metric(
    "last_request_timestamp_seconds",
    Kind.LATEST,
    MODEL_LABELS,
    "When the last request was answered, since 1970; 0 for never.",
    "seconds",
)
MODEL = Metric(
    "model_info",
    Kind.INFO,
    (*MODEL_LABELS, "provider"),
    "The versions that are loaded, and the execution provider that is active for each.",
)
BUILD = Metric("build_info", Kind.INFO, ("version", "python", "onnxruntime"), "What the server is made of.")
WORKERS = Metric("workers", Kind.GAUGE, (), "Processes that answer calls.")
WORKER_RESTARTS = Metric(
    "worker_restarts_total", Kind.COUNTER, (), "Workers started in the place of one that had ended."
)
CPU = Metric(
    "process_cpu_seconds_total",
    Kind.COUNTER,
    (),
    "CPU time, user and system, of all processes of the server.",
    "seconds",
)
MEMORY = Metric(
    "process_resident_memory_bytes",
    Kind.GAUGE,
    (),
    "Resident memory of all processes of the server.",
    "bytes",
)
OPEN_FDS = Metric("process_open_fds", Kind.GAUGE, (), "Open file descriptors of all processes of the server.")

METRICS = (
    *(CALLS, CALL_DURATION, REQUESTS, IMAGES, REQUEST_DURATION),
    *(DECODE, QUEUE, BATCH_WAIT, COMPUTE, REPLY),
    *(RUNS, RUN_TIME, BATCH_IMAGES, CACHE_IMAGES, CACHE_REQUESTS, LAST_REQUEST),
    *(WAITING_IMAGES, ADMITTED_IMAGES, CONNECTIONS, ACTIVE_CALLS, ACTIVE_STREAMS, HELD_BYTES),
    *(REFUSALS, MODEL_EVENTS, MODEL, BUILD),
    *(WORKERS, WORKER_RESTARTS, CPU, MEMORY, OPEN_FDS),
)
"""In the order in which they are told."""
