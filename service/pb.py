"""The former place of the protobuf modules, kept for one release: import ``cifar10net.pb`` instead."""

import sys
import warnings

from cifar10net.pb import classifier_pb2, classifier_pb2_grpc, inference_pb2

for _module in (classifier_pb2, classifier_pb2_grpc, inference_pb2):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module

warnings.warn(
    "service.pb has moved: import cifar10net.pb; the next release has no service.pb",
    DeprecationWarning,
    stacklevel=2,
)
