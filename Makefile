# Two commands on a fresh machine: make demo, make test. PYTHON=python3.13 chooses another Python.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

.PHONY: demo test check clean

demo: $(STAMP)
	$(BIN)/python manage.py migrate --verbosity 0
	$(BIN)/python manage.py send_kinesis_test
	$(BIN)/python manage.py list_buckets
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
	$(BIN)/bandit -q -c pyproject.toml -r kinesis_bridge demo_project
	@$(AUDIT)

# Known vulnerabilities of what is installed here. Where their list cannot be asked (no network, or an
# index that has none) that is said, and nothing fails; it neither asks back nor waits for ever.
define AUDIT
if command -v timeout >/dev/null; then limit="timeout 180"; else limit=; fi; \
found=$$($$limit $(BIN)/pip-audit --progress-spinner off --timeout 10 --skip-editable </dev/null 2>&1); \
case "$$found" in \
*"Found "[0-9]*" known vulnerabilit"*) echo "$$found"; exit 1 ;; \
esac; \
if echo "$$found" | grep -q '^No known vulnerabilities' && \
	! echo "$$found" | grep -qi '^django .*could not be audited'; \
then echo "pip-audit: no known vulnerabilities"; \
else echo "pip-audit: its service cannot be reached, not checked"; fi
endef

.PHONY: errors bench bench-peers chaos

errors: $(STAMP)
	$(BIN)/python docs/make_errors.py > docs/errors.md

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
