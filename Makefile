# Two commands on a fresh machine with Python and make: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
# The torch that the committed results were made with. `make TORCH=torch` takes the newest one.
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test check format bench-speed reproduce clean

demo: $(INSTALLED)
	$(BIN)/gen-rec demo

test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# Every figure of benchmarks/speed, about an hour on two cores that do nothing else; ROWS="4 7" measures some of them.
bench-speed: $(INSTALLED)
	$(BIN)/python -m benchmarks.speed $(if $(ROWS),--rows $(ROWS))

# A committed result made again, prepare to the last ranking, and compared; SET is the name of a file in configs.
SET ?= beauty
OVERLAYS ?= configs/minilm.yaml
reproduce: $(INSTALLED)
	$(BIN)/python -m benchmarks.accuracy.reproduce --config configs/$(SET).yaml $(OVERLAYS:%=--config %)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
