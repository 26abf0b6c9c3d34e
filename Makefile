# `make help` lists what there is. Every target makes the environment it needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PORT   ?= 50051
WEB_PORT ?= 8000
# Public clients that the tests run; each has an environment of its own, since they disagree with ours and each other.
CLIENTS := $(VENV)/clients
# Where trainings keep their runs, by recipe; they go on from there after an interruption.
RUNS   ?= runs
# Of `make train-best`.
SEED   ?= 0
# How many run the tests of `make test`; auto: one more than there are CPUs, and eight at most (tests/conftest.py).
PROCESSES ?= auto
PYTEST = $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
# What `make test` leaves to `make test-all`: CONTRIBUTING.md says why.
REST   := slow or interop or browser or ray or data
# `make bench-gpu` has an environment of its own: ONNX Runtime is either for the CPU or for a GPU.
VENV_GPU ?= .venv-gpu
PROVIDER ?= cuda
# `make bench-int8` too has one of its own, with both the CPU and the OpenVINO provider.
VENV_OPENVINO ?= .venv-openvino
# Of `make images`: what builds them, and which; deploy/Dockerfile has the others.
ENGINE ?= $(shell command -v docker || command -v podman)
IMAGES ?= server client
# Of `make images` and `make wheels`: such as linux/arm64; nothing is the machine's own.
PLATFORM ?=
# What `make bench-compare` compares with.
BASE ?= HEAD~1

RELATIVES := resnet mean_pool lenet fully_connected recurrent
# $(call FIT,recipe,run): begin a run, or go on with it.
FIT = if [ -e $(2)/checkpoint.pt ]; then $(BIN)/cifar10net-train fit --resume $(2); \
	else $(BIN)/cifar10net-train fit --recipe $(1) --out $(2); fi

export PIP_DISABLE_PIP_VERSION_CHECK = 1
# ONNX Runtime's builds for Linux report to Microsoft from 1.29 on; here are the benchmarks that load it by themselves.
export ORT_DISABLE_TELEMETRY = 1

.DEFAULT_GOAL := help
.PHONY: help demo serve web test test-all screenshots check format proto docs buf train train-best train-relatives compare bench bench-compare bench-gpu bench-int8 bench-batch bench-ray bench-train quantize images wheels certificates container-test bench-containers constraints clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.serve ## Start a server, classify the sample photographs, stop it
	@$(BIN)/python examples/demo.py

serve: $(VENV)/.serve ## Serve exported_models/ on port $(PORT) until Ctrl-C
	@$(BIN)/cifar10net serve --port $(PORT)

web: $(VENV)/.web ## Start a server and the page that asks it, on port $(WEB_PORT), until Ctrl-C
	@$(BIN)/python examples/page.py --port $(WEB_PORT) $(if $(CIFAR10NET_DATA),--data $(CIFAR10NET_DATA)) $(if $(wildcard $(RUNS)),--runs $(RUNS))

test: $(VENV)/.test ## Run the tests of the main paths (minutes: run them before each commit)
	@$(PYTEST) -m "not (container or $(REST))"

test-all: $(VENV)/.all $(CLIENTS)/triton/.ready $(CLIENTS)/kserve/.ready $(CLIENTS)/node/.ready ## Run the rest: slow ones, foreign clients, a browser, Ray, the data set (CIFAR10NET_DATA)
	@$(PYTEST) -m "not container and ($(REST))"

screenshots: $(VENV)/.all ## Photograph every section of the page into screenshots/, where Chromium is (README shows one)
	@$(BIN)/python -m docs.screenshots

check: $(VENV)/.check ## Lint, format, types, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q tests/test_stubs.py

format: $(VENV)/.check ## Format and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

proto: $(VENV)/.test ## Generate cifar10net/pb/ from proto/
	@$(BIN)/python proto/generate.py

docs: $(VENV)/.serve ## Write the tables of docs/operations.md from the code
	@$(BIN)/python -m docs.generate

buf: $(CLIENTS)/node/.ready ## Check the .proto files: buf's standard rules, and nothing broken since the last release
	@PATH="$$PATH:$(abspath $(CLIENTS))/node/node_modules/.bin"; buf lint && buf breaking --against proto/released.binpb

train: $(VENV)/.train ## Train CIFAR10Net and export it (minutes; CIFAR10NET_DATA or a download)
	@$(call FIT,cifar10net,$(RUNS)/cifar10net)
	@$(BIN)/cifar10net-train export --run $(RUNS)/cifar10net --replace

train-best: $(VENV)/.train ## Train CIFAR10Net for long, with SEED, taught by exported_models/resnet
	@$(call FIT,cifar10net-best --seed $(SEED),$(RUNS)/cifar10net-best-$(SEED))
	@$(BIN)/cifar10net-train export --run $(RUNS)/cifar10net-best-$(SEED) --replace

train-relatives: $(addprefix train-,$(RELATIVES)) ## Train and export the other networks (resnet alone takes an hour)

$(addprefix train-,$(RELATIVES)): train-%: $(VENV)/.train
	@$(call FIT,$*,$(RUNS)/$*)
	@$(BIN)/cifar10net-train export --run $(RUNS)/$* --replace

quantize: $(VENV)/.train ## Make the int8 twins of the exported CIFAR10Net (a minute; CIFAR10NET_DATA or a download)
	@for form in int8 int8_openvino; do \
	$(BIN)/cifar10net-train quantize exported_models/cifar10net/1/model.onnx --form $$form --replace || exit 1; done

compare: $(VENV)/.train ## Measure all exported models side by side (minutes; README and benchmarks/results/models/ show it)
	@$(BIN)/cifar10net-train compare --out benchmarks/results/models && $(BIN)/python -m benchmarks.models

bench: $(VENV)/.serve ## Measure the server on this machine (minutes; README and benchmarks/results/ show it)
	@$(BIN)/python -m benchmarks.serving && $(BIN)/python -m benchmarks.readme

bench-compare: $(VENV)/.serve ## Measure what this tree costs beside the commit BASE, and its front beside grpcio's
	@$(BIN)/python -m benchmarks.compare $(BASE) && $(BIN)/python -m benchmarks.fronts

bench-gpu: $(VENV_GPU)/.gpu ## Measure the model alone on PROVIDER (cuda, tensorrt or cpu)
	@$(VENV_GPU)/bin/python -m benchmarks.gpu --provider $(PROVIDER)

bench-int8: $(VENV)/.train $(VENV_OPENVINO)/.openvino ## Measure float32 and int8 on the CPU and OpenVINO providers, and what exact sums cost, on one core
	@$(BIN)/python -m benchmarks.int8 --out benchmarks/results/int8-exact.json
	@$(VENV_OPENVINO)/bin/python -m benchmarks.int8

bench-batch: $(VENV)/.batch ## Measure a batch job beside decoding and ONNX Runtime alone, on one core (CIFAR10NET_DATA: a zip)
	@$(BIN)/python -m benchmarks.batch && $(BIN)/python -m benchmarks.lists && $(BIN)/python -m benchmarks.batch_page

bench-ray: $(VENV)/.ray ## Measure a batch job on a Ray cluster of this machine, with 1 and 2 workers (CIFAR10NET_DATA: a zip)
	@$(BIN)/python -m benchmarks.ray

bench-train: $(VENV)/.train ## Measure training beside the plain way, in one run (minutes; CIFAR10NET_DATA or a download)
	@$(BIN)/python -m benchmarks.train

images: ## Build the container images IMAGES (server client server-openvino train server-gpu), for PLATFORM, and print their layers
	@$(PYTHON) deploy/images.py --engine "$(ENGINE)" $(if $(PLATFORM),--platform $(PLATFORM)) $(IMAGES)

wheels: $(VENV)/.pip ## Check that the server's and the client's image have wheels for PLATFORM (both, if it is not given)
	@$(BIN)/python -m deploy.wheels $(or $(PLATFORM),linux/amd64 linux/arm64)

certificates: ## Make certificates for the profile tls of docker-compose.yml
	@deploy/tls/make_certificates.sh

container-test: $(VENV)/.test ## Test the images and the stack of docker-compose.yml, where an engine is (minutes)
	@test -e deploy/tls/made || deploy/tls/make_certificates.sh
	@CIFAR10NET_CONTAINERS=1 $(BIN)/python -m pytest tests/containers

bench-containers: $(VENV)/.test ## Measure the images: time to healthy, to drain, memory (after `make images`)
	@$(BIN)/python -m benchmarks.containers --engine "$(ENGINE)"

constraints: $(VENV)/.check $(VENV)/.train ## Pin what is installed now in constraints.txt
	@{ sed '/^[^#]/,$$d' constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## Remove the environment and everything that tools left
	rm -rf $(VENV) $(VENV_GPU) $(VENV_OPENVINO) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# One environment; each stamp says that one set of packages is in it. Nothing is compiled while it is installed:
# most of PyTorch is never imported, and Python compiles the rest when it is.
$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.serve: $(VENV)/.pip pyproject.toml constraints.txt
	@echo "installing what serving needs into $(VENV)/ (ONNX Runtime, NumPy, gRPC: less than a minute on a usual line)"
	@$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[cpu]'
	@touch $@

$(VENV)/.web: $(VENV)/.serve
	@$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[cpu,web]'
	@touch $@

$(VENV)/.batch: $(VENV)/.serve
	@$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[cpu,batch]'
	@touch $@

$(VENV)/.ray: $(VENV)/.serve
	@$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[cpu,batch,ray]'
	@touch $@

$(VENV)/.train: $(VENV)/.serve
	@echo "installing what training needs into $(VENV)/ (PyTorch: a few minutes)"
	@$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[cpu,train]'
	@touch $@

$(VENV)/.test: $(VENV)/.pip pyproject.toml constraints.txt
	@echo "installing what testing needs into $(VENV)/ (PyTorch and more: minutes)"
	@$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[cpu,train,otel,batch,web]' --group test --group deploy
	@touch $(VENV)/.serve $(VENV)/.batch $(VENV)/.train $(VENV)/.web $@

$(CLIENTS)/%/.ready: tests/interop/%.txt | $(VENV)/.pip
	@echo "installing the public client $* into $(@D)/"
	@$(PYTHON) -m venv --clear --without-pip $(@D)
	@$(BIN)/pip --python $(@D)/bin/python install -q --no-deps --no-compile -r $<
	@touch $@

# Node's client and buf, where Node is; tests that want them are skipped elsewhere.
$(CLIENTS)/node/.ready: examples/node/package.json | $(VENV)/.pip
	@mkdir -p $(@D)
	@if command -v npm > /dev/null; then \
	echo "installing the packages of examples/node into $(@D)/"; \
	cp examples/node/package.json $(@D)/ && cd $(@D) && npm install --no-package-lock --silent --no-audit --no-fund; \
	else echo "no npm here: the tests of the Node client and of buf are skipped"; fi
	@touch $@

$(VENV)/.all: $(VENV)/.test
	@echo "installing what the rest of the tests needs into $(VENV)/: Ray, and what drives a browser"
	@$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[cpu,train,otel,batch,ray,web]' --group test --group deploy --group browser
	@touch $(VENV)/.ray $@

$(VENV)/.check: $(VENV)/.all
	@$(BIN)/pip install -q --no-compile -c constraints.txt --group check
	@touch $@

$(VENV_GPU)/.gpu: pyproject.toml
	@$(PYTHON) -m venv $(VENV_GPU)
	@echo "installing ONNX Runtime for GPUs into $(VENV_GPU)/"
	@$(VENV_GPU)/bin/pip install -q -e '.[gpu]'
	@touch $@

$(VENV_OPENVINO)/.openvino: pyproject.toml
	@$(PYTHON) -m venv $(VENV_OPENVINO)
	@echo "installing ONNX Runtime with OpenVINO into $(VENV_OPENVINO)/"
	@$(VENV_OPENVINO)/bin/pip install -q -e '.[openvino]' platformdirs # which reading the data set wants
	@touch $@
