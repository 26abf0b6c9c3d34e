#!/bin/sh
# Install the content of an image; deploy/Dockerfile runs this while it builds. The images do not contain it.
#
#   install.sh packages LIST...   the packages of these requirement files, into /opt/cifar10net
#   install.sh prune              remove what serving on the CPU never loads, 58 MB: NumPy's own tests, ONNX Runtime's
#                                 tools, and its C library, which the Python module includes
#   install.sh application        the wheel in /wheels, below /application, as files to copy over the packages; and
#                                 beside it a CycloneDX bill of materials of packages and wheel
set -eu

python=/opt/cifar10net/bin/python
constraints="--constraint=/build/constraints.txt --constraint=/build/image-constraints.txt"

pip() { /build/pip/bin/python -m pip "$@"; }

case $1 in
  packages)
    shift
    for list; do set -- "$@" "--requirement=$list"; shift; done
    # shellcheck disable=SC2086 # two options
    pip --python "$python" install $constraints "$@"
    ;;
  prune)
    site=$(echo /opt/cifar10net/lib/python3*/site-packages)
    find "$site/numpy" -type d -name tests -prune -exec rm -rf {} +
    rm -rf "$site/onnxruntime/transformers" "$site/onnxruntime/quantization" "$site/onnxruntime/tools"
    rm -f "$site"/onnxruntime/capi/libonnxruntime.so.*
    ;;
  application)
    pip --python "$python" install --no-index --no-deps --root=/application /wheels/*.whl
    pip --python "$python" install --no-index --no-deps /wheels/*.whl
    mkdir -p /application/opt/cifar10net/share
    /build/sbom/bin/cyclonedx-py environment --output-reproducible --output-format=JSON \
      --output-file=/application/opt/cifar10net/share/sbom.cdx.json "$python"
    ;;
  *)
    echo "install.sh: $1 is none of packages, prune and application" >&2
    exit 2
    ;;
esac
