# Three commands on a fresh machine: make demo, make live, make test. PYTHON=python3.13 chooses another Python.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

PORT ?= 8000
# One that the shell happens to hold is another project's: the demos write, and would write there.
ifneq ($(origin DATABASE_URL),command line)
unexport DATABASE_URL
endif
# Without its notice of MkDocs 2, which the pinned versions keep away: CONTRIBUTING.md.
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs

.PHONY: demo live test test-all check dist clean

demo: $(STAMP)
	$(BIN)/python manage.py migrate --verbosity 0
	$(BIN)/python manage.py send_kinesis_test
	$(BIN)/python manage.py list_buckets
	$(BIN)/python manage.py place_orders --read-back

# The emulator, a relay and the site in one, until Ctrl-C. make live DATABASE_URL=...: not a SQLite of its own.
live: $(STAMP)
	@$(BIN)/python manage.py live --port $(PORT) $(if $(filter command,$(origin DATABASE_URL)),--database "$(DATABASE_URL)")

test: $(STAMP)
	$(BIN)/python -m pytest

# Every Python and Django that go together, as far as this machine has them: ARGS="tests/unit" is pytest's.
test-all: $(STAMP)
	$(BIN)/python .ci/matrix.py $(ARGS)

# A wheel and an sdist in dist/; tests/acceptance/test_distribution.py installs them.
dist: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check
	$(BIN)/bandit -q -c pyproject.toml -r kinesis_bridge demo_project
	$(MKDOCS) build --quiet --strict
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

.PHONY: errors map messages reference docs bench bench-peers chaos

errors: $(STAMP)
	$(BIN)/python docs/make_errors.py > docs/errors.md

map: $(STAMP)
	$(BIN)/python docs/make_map.py

# Django's own commands, which need GNU gettext (apt-get install gettext): what is new in the code is
# added to the Japanese texts, to be translated there; run it again to compile them.
messages: $(STAMP)
	cd kinesis_bridge && $(CURDIR)/$(BIN)/django-admin makemessages --locale ja --no-location --no-obsolete
	cd kinesis_bridge && $(CURDIR)/$(BIN)/django-admin compilemessages --locale ja

reference: $(STAMP)
	$(BIN)/python docs/make_reference.py

docs: $(STAMP)
	$(MKDOCS) serve --dev-addr 127.0.0.1:8000

bench: $(STAMP)
	$(BIN)/python -m benchmarks.producer

bench-peers: $(STAMP)
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.outbox.peers

chaos: $(STAMP)
	$(BIN)/python -m benchmarks.chaos --minutes 20

clean:
	rm -rf $(VENV) .venv-py3*-dj* dist site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis demo.sqlite3

# Installs once, and again when what is needed changes; without a network nothing is asked for.
$(STAMP): requirements.txt pyproject.toml
	@echo "Installing what is needed into $(VENV): once, a minute or three (seconds where uv is)."
	$(PYTHON) -m venv $(VENV)
	uv pip install --quiet --python $(BIN)/python -r requirements.txt 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $(STAMP)
