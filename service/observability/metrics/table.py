"""The table of all metrics, from which exposition and documentation are generated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SECONDS_BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds of the buckets of all histograms of times, in seconds; one more bucket is unbounded."""
IMAGES_BOUNDS = tuple(float(1 << power) for power in range(13))
"""Upper bounds of the buckets of batch sizes, in images."""
OK = "ok"
FAILED = "failed"
BAD_IMAGE = "bad_image"
HIT = "hit"
MISS = "miss"
MODEL_LABELS = ("model", "version")


class Kind(Enum):
    """How a metric behaves over time, and how the values of several processes are combined."""

    COUNTER = "counter"
    """Only grows; a process' counts are kept when it ends."""
    HISTOGRAM = "histogram"
    """A counter for each bucket."""
    GAUGE = "gauge"
    """A current value, summed over the running processes."""
    LATEST = "latest gauge"
    """The time of an event, the latest of all processes; kept when a process ends."""
    INFO = "info"
    """Always 1; the labels are the information, about the running processes."""


@dataclass(frozen=True)
class Metric:
    """A row of the table."""

    name: str
    """Without the prefix."""
    kind: Kind
    labels: tuple[str, ...]
    help: str
    unit: str = ""
    """Base unit, the end of the name (before a counter's suffix)."""
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets."""

    @property
    def full_name(self) -> str:
        """The name with its prefix."""
        return f"cifar10net_{self.name}"


def _counter(name: str, labels: tuple[str, ...], text: str, unit: str = "") -> Metric:
    return Metric(name, Kind.COUNTER, labels, text, unit)


def _seconds(name: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(name, Kind.HISTOGRAM, labels, text, "seconds", SECONDS_BOUNDS)


def _gauge(name: str, labels: tuple[str, ...], text: str, unit: str = "") -> Metric:
    return Metric(name, Kind.GAUGE, labels, text, unit)


CALLS = _counter(
    "calls_total",
    ("method", "code"),
    "Finished calls, by gRPC status code. CANCELLED: the client gave up or its connection ended.",
)
CALL_DURATION = _seconds(
    "call_duration_seconds",
    ("method",),
    "From a call's headers to its end; for a streaming call its whole duration.",
)
REQUESTS = _counter(
    "requests_total",
    (*MODEL_LABELS, "outcome"),
    "Finished prediction requests: unary calls and messages of a stream. The outcome is ok or the gRPC "
    "status in lower case; model and version are empty if the request ended before its model was known.",
)
IMAGES = _counter(
    "images_total",
    (*MODEL_LABELS, "outcome"),
    "Images of these requests: ok, bad_image if unreadable, else the outcome of the request.",
    "images",
)
REQUEST_DURATION = _seconds(
    "request_duration_seconds",
    (*MODEL_LABELS, "outcome"),
    "From the start of parsing a request to its answer (outcome ok) or refusal (failed).",
)
DECODE = _seconds(
    "decode_seconds",
    MODEL_LABELS,
    "For requests with pictures: from the first one being queued for decoding to the last one being decoded.",
)
QUEUE = _seconds(
    "queue_seconds",
    MODEL_LABELS,
    "From a request's images being queued for batching to the first of them being taken into a batch, or to "
    "the request's end if none was.",
)
BATCH_WAIT = _seconds(
    "batch_wait_seconds",
    MODEL_LABELS,
    "From a request's first image being taken into a batch to the end of its last run, less its compute "
    "time: waiting for the model's thread and, if there are several batches, the time between them.",
)
COMPUTE = _seconds(
    "compute_seconds",
    MODEL_LABELS,
    "Time during which at least one batch with images of the request was running.",
)
REPLY = _counter(
    "reply_seconds_total",
    MODEL_LABELS,
    "From the end of a request's last run to its answer, for the requests in compute_seconds.",
    "seconds",
)
RUNS = _counter("runs_total", MODEL_LABELS, "Batches that were run, including failed ones.")
RUN_TIME = _counter(
    "run_seconds_total",
    MODEL_LABELS,
    "Time spent in these runs, summed over all sessions of the model.",
    "seconds",
)
BATCH_IMAGES = Metric(
    "batch_images", Kind.HISTOGRAM, MODEL_LABELS, "Images in each of these batches.", "images", IMAGES_BOUNDS
)
CACHE_IMAGES = _counter(
    "cache_images_total",
    (*MODEL_LABELS, "result"),
    "Images of answered requests that were looked up in the response cache (hit or miss); 0 without "
    "--cache-mib.",
    "images",
)
CACHE_REQUESTS = _counter(
    "cache_requests_total",
    (*MODEL_LABELS, "result"),
    "Requests with these images: hit if all of their images were found, else miss.",
)
LAST_REQUEST = Metric(
    "last_request_timestamp_seconds",
    Kind.LATEST,
    MODEL_LABELS,
    "When the last request was answered, in seconds since 1970; 0 for never.",
    "seconds",
)
WAITING_IMAGES = _gauge("waiting_images", MODEL_LABELS, "Images waiting to be taken into a batch.", "images")
ADMITTED_IMAGES = _gauge(
    "admitted_images",
    (),
    "Images admitted and not yet answered, including those waiting (limit: --max-pending-images a worker).",
    "images",
)
CONNECTIONS = _gauge("connections", (), "Open client connections (limit: --max-connections a worker).")
ACTIVE_CALLS = _gauge("active_calls", (), "Calls in progress, including streams.")
ACTIVE_STREAMS = _gauge("active_streams", (), "Streaming calls in progress.")
HELD_BYTES = _gauge(
    "held_bytes", (), "Bytes held for requests in progress (limit: --max-pending-mib a worker).", "bytes"
)
REFUSALS = _counter(
    "refusals_total",
    ("event", "reason"),
    "Refusals, by the log's event and reason: for calls and messages of a stream the status code, for "
    "requests that are not a gRPC call HEAD, for connections why they were refused or closed.",
)
MODEL_EVENTS = _counter(
    "model_events_total",
    ("model", "event"),
    "Model versions that were loaded, refused or retired, counted in each process of the server. Beyond a "
    "thousand pairs of model and event, the model is other.",
)
MODEL = Metric(
    "model_info",
    Kind.INFO,
    (*MODEL_LABELS, "provider"),
    "Loaded versions, each with its active execution provider.",
)
BUILD = Metric(
    "build_info",
    Kind.INFO,
    ("version", "python", "onnxruntime"),
    "Versions of the server, Python and ONNX Runtime.",
)
WORKERS = _gauge("workers", (), "Processes that answer calls.")
WORKER_RESTARTS = _counter("worker_restarts_total", (), "Workers started to replace one that had ended.")
CPU = _counter(
    "process_cpu_seconds_total", (), "User and system CPU time of all processes of the server.", "seconds"
)
MEMORY = _gauge(
    "process_resident_memory_bytes", (), "Resident memory of all processes of the server.", "bytes"
)
OPEN_FDS = _gauge("process_open_fds", (), "Open file descriptors of all processes of the server.")

METRICS = tuple(each for each in tuple(globals().values()) if isinstance(each, Metric))
"""All of them, in the order of exposition."""
