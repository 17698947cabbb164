# make demo   set up and run four strategies at epsilon 1 on the shipped HAPT data
# make test   set up and run the tests
# make campaign   every seed and every kill of the tests of which the slow stage runs a sample
# TORCH_INDEX: URL of a wheel index with a CPU build of torch, where pip's own index holds a CUDA build.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
TORCH_ARGS := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX),)
# Two processes of tests; each takes over what the other has not begun.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist worksteal
export OMP_NUM_THREADS ?= 1

.PHONY: setup demo test test-slow campaign lint format docs bench bench-attacks bench-bytes bench-crypto bench-dropouts bench-forgetting bench-poisoning bench-privacy bench-reproduce bench-scale bench-strategies clean
setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt --upgrade 'pip>=25.1'
	$(PIP) install -q -c constraints.txt $(TORCH_ARGS) torch
	$(PIP) install -q -c constraints.txt -e '.[mpc,flower]' --group dev
	$(PIP) install -q -c constraints.txt --no-deps crypten==0.4.1
	touch $@

demo: setup
	$(BIN)/secure-fcl demo

test: setup
	$(PYTEST) --durations 10

test-slow: setup
	$(PYTEST) -m slow --timeout 1800 --durations 10

campaign: setup
	$(PYTEST) -m campaign --whole --timeout 7200

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: setup
	$(BIN)/python docs/make_configuration.py
	$(BIN)/python docs/make_strategies.py
	$(BIN)/python docs/make_lists.py
	$(BIN)/python docs/make_api.py
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/site
	@echo "site: build/site/index.html"

bench: setup
	$(BIN)/python -m benchmarks

bench-attacks: setup
	$(BIN)/python -m benchmarks.attacks

bench-bytes: setup
	$(BIN)/python -m benchmarks.bytes --write $(BENCH_ARGS)

bench-forgetting: setup
	$(BIN)/python -m benchmarks.forgetting --write $(BENCH_ARGS)

bench-dropouts: setup
	$(BIN)/python -m benchmarks.dropouts --write $(BENCH_ARGS)

bench-poisoning: setup
	$(BIN)/python -m benchmarks.poisoning --write $(BENCH_ARGS)

bench-crypto: setup
	$(BIN)/python -m benchmarks.crypto $(BENCH_ARGS)

bench-strategies: setup
	$(BIN)/python -m benchmarks.strategies --write $(BENCH_ARGS)

bench-scale: setup
	$(BIN)/python -m benchmarks.scale --write $(BENCH_ARGS)

bench-reproduce: setup
	$(BIN)/python -m benchmarks.strategies.reproduce --write $(BENCH_ARGS)

bench-privacy: setup
	$(BIN)/python -m benchmarks.privacy.hapt_curve
	$(BIN)/python -m benchmarks.privacy.accounting
	$(BIN)/python -m benchmarks.privacy.stacked
	$(BIN)/python -m benchmarks.privacy.stacked_noise
	$(BIN)/python -m benchmarks.privacy.noise
	$(BIN)/python -m benchmarks.privacy.skellam
	$(BIN)/python -m benchmarks.privacy.streams
	$(BIN)/python -m benchmarks.privacy.online

clean:
	rm -rf $(VENV) build *.egg-info
