# make demo   the whole pipeline on the synthetic town; then open demo/report.html
# make test   lint and tests;  make test-slow  the long ones, and property tests with new examples
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo

.PHONY: demo demo-quick test test-slow lint format clean

demo: $(VENV)/.installed
	$(BIN)/fgsn demo --out $(DEMO)

demo-quick: $(VENV)/.installed
	$(BIN)/fgsn demo --out $(DEMO) --quick

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(VENV)/.installed-dev
	HYPOTHESIS_PROFILE=search $(BIN)/python -m pytest -m "slow or hypothesis"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/pip:
	@test -n "$(PYTHON)" || { echo "fgsn needs Python 3.11 or newer; none was found on PATH"; exit 1; }
	@sh scripts/make-venv.sh $(PYTHON) $(VENV)

$(VENV)/.installed: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
