# Two commands matter: `make run` (a demo world on loopback) and `make test` (everything CI checks).

SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= demo
PYTEST_ARGS ?=
TEST_WORKERS ?= 3
FUZZ_SECONDS ?= 60
DEB_PYTHON ?= /usr/bin/python3

export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_ROOT_USER_ACTION = ignore
# Many images set it. Every gateway and command that a test starts would then compile some 300 files again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test packages lint style layout types format unit bench soak cost fuzz devmode changelog constraints deb \
	site simulate pictures clean distclean
.DEFAULT_GOAL := help

help:
	@echo 'make run      a small world on loopback: directory, CAs, a target, the gateway; Ctrl-C ends it'
	@echo 'make test     install what the tests need, then lint, types and all tests (what CI runs)'
	@echo 'make unit     the pure unit tests with few examples each, a minute'
	@echo 'make lint     ruff and mypy          make format   let ruff rewrite'
	@echo 'make bench    tests/bench: speed and memory, figures for docs/ (QUICK=1: a short one;'
	@echo '              WORKERS=2: each gateway once more with two workers;'
	@echo '              CONTENDER="piper:PID=ssh -p 2222 {} me@host": another gateway beside ours;'
	@echo '              CONTENDER=go-relay,forced-command: two that it builds and starts itself)'
	@echo 'make bench-scaling  CPU of a login and of a GiB with 1 to 4 workers, for docs/scaling.md (QUICK=1)'
	@echo 'make bench-search  the reading index: 1 GB of text, what it costs and how fast it answers (QUICK=1)'
	@echo 'make bench-console  the review console: 100,000 sessions, watching, seeks in 1 GB, for docs/console.md (QUICK=1)'
	@echo 'make soak     tests marked soak: large or long'
	@echo 'make cost     what strangers cost, each kind and in a storm; figures for docs/security.md'
	@echo 'make devmode  the tests in Python'"'"'s development mode: no leak, no lost error'
	@echo 'make fuzz     tests/fuzz: each fuzzer for FUZZ_SECONDS=$(FUZZ_SECONDS)'
	@echo 'make deb      dist/bastion_VERSION_ARCH.deb for the Debian of this machine (DEB_PYTHON=$(DEB_PYTHON))'
	@echo 'make changelog  CHANGELOG.md from changelog.d (VERSION=0.2.0: a release; the fragments are used up)'
	@echo 'make tables   what of docs/ and etc/ is made from the code: options, audit events, metrics'
	@echo 'make site     docs/ as a site in build/site, with search, to read without a network'
	@echo 'make simulate  how many gateways for 1,000 to 100,000 engineers, and where it breaks: docs/scaling.md'
	@echo 'make pictures  the dashboards of etc/grafana with a gateway at work, drawn into docs/pictures'
	@echo 'make constraints  constraints.txt again: the newest versions that setup.cfg allows'
	@echo 'make clean    remove what was built   make distclean   and .venv'

# The environment, made once and brought up to date when the metadata changes.
.venv/.made: .ci/venv
	@.ci/venv
	@touch $@

PIP = $(BIN)/python -m pip install --constraint constraints.txt
INSTALL = $(PIP) --quiet --editable

.venv/.run-installed: .venv/.made setup.cfg pyproject.toml constraints.txt
	@echo 'installing bastion into .venv: some 40 packages, a minute or two'
	@$(PIP) --editable . | sed -u -n 's/^Collecting \([^ ]*\).*/  \1/p; s/^Installing collected packages.*/installing them/p; s/^ERROR.*/&/p'
	@$(INSTALL) .
	@touch $@

.venv/.test-installed: .venv/.made setup.cfg pyproject.toml constraints.txt
	@echo 'installing bastion and the test tools into .venv'
	@$(INSTALL) '.[test]'
	@touch $@ .venv/.run-installed

run: .venv/.run-installed
	@exec $(BIN)/bastion demo --dir $(DEMO) $(if $(KEEP),--keep)

packages: .venv/.made
	@.ci/packages

# All of it runs, whatever fails first, mypy beside the first tests: it takes a minute of one processor. The last line
# says how it went, and names what failed.
test: .venv/.test-installed packages
	@rm -f .pytest_cache/verdict; $(MAKE) --no-print-directory --keep-going --jobs=4 lint all-tests \
		&& echo 'make test: passed: lint, types and all tests' \
		|| { echo "make test: FAILED: $$(cat .pytest_cache/verdict 2>/dev/null || echo lint or types)"; exit 1; }

.PHONY: all-tests
all-tests: .venv/.test-installed
	@# Most of it waits for real servers, so three at a time on two cores; a file stays together, for its worlds.
	@# In the order of the folders: unit tests come last, many short files that share out the end of the run.
	@# What failed is run once more, alone, only to say which kind of fault it is (.ci/tests): it has failed.
	$(BIN)/python .ci/tests -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

unit: .venv/.test-installed
	$(BIN)/python -m pytest -m 'not slow and not soak' --hypothesis-profile=quick tests/unit/*/ $(PYTEST_ARGS)

lint: style layout types

style: .venv/.test-installed
	$(BIN)/ruff check .

layout: .venv/.test-installed
	$(BIN)/ruff format --check .

types: .venv/.test-installed
	$(BIN)/mypy

format: .venv/.test-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.test-installed packages
	@echo 'bench: interleaved rounds against ssh -J, asyncssh and a plain proxy; QUICK=1 takes 3 minutes, not 19'
	$(BIN)/python -m tests.bench.bench_gateway $(if $(QUICK),--quick) $(if $(WORKERS),--workers $(WORKERS)) $(if $(CONTENDER),--contender '$(CONTENDER)') $(BENCH_ARGS)
	$(BIN)/python -m tests.bench.reload_lag $(if $(QUICK),1000)

.PHONY: bench-search
bench-search: .venv/.test-installed
	@echo 'bench-search: the reading index at 1 GB and 10,000 sessions, 6 minutes of one processor; QUICK=1 takes 20 MB;'
	@echo 'BENCH_ARGS="--with ours,fts5,tantivy": beside FTS5 as it comes, and tantivy when pip has installed it'
	$(BIN)/python -m tests.bench.reading_index --draw 5 $(if $(QUICK),--megabytes 20 --sessions 200) $(BENCH_ARGS)

.PHONY: bench-console
bench-console: .venv/.test-installed packages
	@echo 'bench-console: pages and search of the console over 100,000 sessions, watching, and seeks in a recording of 1 GB;'
	@echo '20 minutes, and 20 more for the recording unless FOLDER has it from before; QUICK=1 takes 2,000 sessions and no player'
	$(BIN)/python -m tests.bench.console_pages $(if $(QUICK),2000)
	$(BIN)/python -m tests.bench.console_search $(if $(QUICK),2000)
	$(BIN)/python -m tests.bench.console_live $(if $(QUICK),20,100)
	$(if $(QUICK),,$(BIN)/python -m tests.bench.console_player $(FOLDER))

.PHONY: bench-scaling
bench-scaling: .venv/.test-installed packages
	@echo 'bench-scaling: CPU-seconds of 1 to 4 workers; about 4 minutes, QUICK=1 one'
	$(BIN)/python -m tests.bench.scaling $(if $(QUICK),--quick) $(BENCH_ARGS)

# What the tests of uploads talk to: minutes to build, once. Without it `make test` skips them, and says so.
.PHONY: s3-server
s3-server: .venv/.made
	@PYTHON=$(BIN)/python .ci/go-programs versitygw

# What the tests of sinks and traces talk to beside our own receivers, for `make soak` alone: minutes to build, once.
.PHONY: receivers
receivers: .venv/.made
	@PYTHON=$(BIN)/python .ci/go-programs victoria-logs otelcol

# What of docs/ and etc/ is made from the code; tests fail while it is not what the code says.
.PHONY: tables
tables: .venv/.test-installed
	$(BIN)/python -m bastion.config.render .
	$(BIN)/python -m tests.support.audit_document docs/audit.md
	$(BIN)/python -m tests.support.metrics_document docs/metrics.md
	$(BIN)/python -m tests.support.console_document docs/openapi.json

site: .venv/.test-installed
	$(BIN)/python -m mkdocs build --quiet --strict
	@echo 'build/site/index.html'

# From the measured costs and stated habits of tests/scale/inputs.py; ARGS="--set processors=4 --engineers 3000" for others.
simulate: .venv/.test-installed
	$(BIN)/python -m tests.scale $(ARGS)

# A gateway at work and a real Prometheus, two and a half minutes; docs/monitoring.md shows what comes of it.
pictures: .venv/.test-installed packages
	$(BIN)/python -m tests.pictures $(ARGS)

soak: soak-tests cost

.PHONY: soak-tests
soak-tests: .venv/.test-installed packages s3-server receivers
	@echo 'soak: running the tests marked soak (large or long), with durations'
	@$(BIN)/python -m pytest -m soak --durations=0 $(PYTEST_ARGS); code=$$?; \
		[ $$code -ne 5 ] || { echo 'soak: no test is marked soak yet'; exit 0; }; exit $$code

# The tables "what strangers cost" of docs/security.md, and the storm beside engineers: a quiet machine, 6 minutes.
cost: .venv/.test-installed packages
	@echo 'cost: what strangers and engineers cost the gateway, and a storm of both'
	$(BIN)/python -m tests.hostile.cost_of_strangers
	$(BIN)/python -m tests.hostile.cost_of_engineers
	$(BIN)/python -m tests.faults.storm

# The suite with Python's development mode, in the tests and in every gateway that they start: every warning on,
# unclosed resources and unawaited Deferreds are errors.
DEVMODE_TESTS ?= tests
# Frames of an unclosed object's origin that are shown: 8 tell where it was made, and take three times as long.
TRACE ?= 0
devmode: .venv/.test-installed packages
	PYTHONDEVMODE=1 PYTHONTRACEMALLOC=$(TRACE) $(BIN)/python -m pytest -m 'not soak' -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder \
		-W error::ResourceWarning -W error::RuntimeWarning -W error::pytest.PytestUnraisableExceptionWarning \
		-W error::pytest.PytestUnhandledThreadExceptionWarning $(DEVMODE_TESTS) $(PYTEST_ARGS)

.venv/.fuzz-installed: .venv/.test-installed
	@echo 'installing atheris into .venv'
	@$(INSTALL) '.[fuzz]'
	@touch $@

fuzz: .venv/.fuzz-installed
	@echo 'fuzz: running every tests/fuzz/fuzz_*.py for $(FUZZ_SECONDS) s each'
	@found=; for file in tests/fuzz/fuzz_*.py; do \
		[ -e "$$file" ] || continue; found=yes; \
		echo "== $$file"; $(BIN)/python -m "$$(echo $${file%.py} | tr / .)" --seconds $(FUZZ_SECONDS) || exit 1; \
	done; [ -n "$$found" ] || echo 'fuzz: tests/fuzz holds no fuzzer yet'
	@echo 'fuzz: the properties of tests/unit with examples of chance, three times as many as make test tries'
	$(BIN)/python -m pytest -q -m 'hypothesis and not soak' --hypothesis-profile=explore -n $(TEST_WORKERS) tests/unit $(PYTEST_ARGS)

# A virtual environment of its own in /opt/bastion/VERSION, the units, the user: docs/upgrading.md.
deb: .venv/.made
	@PYTHON=$(BIN)/python DEB_PYTHON=$(DEB_PYTHON) .ci/deb

# What has changed for users: the section Unreleased of CHANGELOG.md, or with VERSION= that of a release.
changelog: .venv/.test-installed
	@$(BIN)/python .ci/changelog $(VERSION)

# Commit what comes of it only when `make test` has passed with it.
constraints: .venv/.made
	@$(BIN)/python .ci/constraints

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis bench-results $(DEMO)
	find bastion tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv
