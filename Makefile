# Two commands on a fresh machine: make demo, make test. PYTHON=python3.13 chooses another Python.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

.PHONY: demo test check clean

demo: $(STAMP)
	$(BIN)/python manage.py migrate --verbosity 0
	$(BIN)/python manage.py send_kinesis_test
	$(BIN)/python manage.py place_orders --read-back

test: $(STAMP)
	$(BIN)/python -m pytest

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check

.PHONY: bench bench-peers chaos

bench: $(STAMP)
	$(BIN)/python -m benchmarks.producer

bench-peers: $(STAMP)
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.outbox.peers

chaos: $(STAMP)
	$(BIN)/python -m benchmarks.chaos --minutes 20

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis demo.sqlite3

# Installs once, and again when what is needed changes; without a network nothing is asked for.
$(STAMP): requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $(STAMP)
