# Everything a newcomer needs; `make help` lists it. Only Python 3.11, pip and make have to be there.
PYTHON   ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
PACKAGES := protos chassis services/intake services/scheduling services/care services/family services/notifications cli
PROTOS   := $(shell find protos/stepway -name '*.proto')
BESIDE   := tests/e2e/test_demo.py tests/unit tests/contract tests/faults

.PHONY: help demo up test unit bench check check-deploy soak lock protos catalogue clean
.DEFAULT_GOAL := help

help: ## what can be made here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/run.stamp ## the whole journey on two sites, then a table of what it proved; REFERRALS=DIR ANSWERS=FILE for your own
	@$(BIN)/stepway demo $(if $(REFERRALS),--referrals "$(REFERRALS)") $(if $(ANSWERS),--answers "$(ANSWERS)")

up: $(VENV)/run.stamp ## run the platform here until Ctrl-C
	@$(BIN)/stepway up

test: check ## every rule once, on real servers: half of it beside the other, each on servers of its own
	@mkdir -p .stepway
	$(BIN)/pytest -q $(BESIDE) > .stepway/beside.log 2>&1 & beside=$$!; \
	$(BIN)/pytest -q tests $(addprefix --ignore ,$(BESIDE)); here=$$?; \
	wait $$beside; there=$$?; cat .stepway/beside.log; exit $$((here + there))

unit: $(VENV)/dev.stamp ## the rules of the domain, without any server
	$(BIN)/pytest -q tests/unit

bench: $(VENV)/dev.stamp ## how fast it is, beside bare floors of the same run (<= 15 minutes); QUICK=1 for a glance, ONLY=part
	@QUICK="$(QUICK)" ONLY="$(ONLY)" $(BIN)/python -m tests.bench

soak: $(VENV)/dev.stamp ## the same tests, big counts and random seeds
	STEPWAY_SOAK=1 $(BIN)/pytest -q tests

check: $(VENV)/dev.stamp ## style, types, layers, contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/contract/gate.py
	$(BIN)/hadolint deploy/images/Dockerfile
	$(BIN)/compose-lint --quiet compose.yaml

check-deploy: ## build the image for real, where buildah and debootstrap are
	@deploy/check.sh

protos: ## generate the Python of the contracts
	$(BIN)/python protos/build.py

catalogue: $(VENV)/run.stamp ## write the page of all events from the contracts
	$(BIN)/stepway events catalogue > docs/event-catalogue.md

lock: ## compile the two lock files from the .in files beside them (needs uv)
	uv pip compile --python-version 3.11 --generate-hashes --no-header --no-annotate requirements.in -o requirements.lock
	uv pip compile --python-version 3.11 --generate-hashes --no-header --no-annotate requirements-dev.in -o requirements-dev.lock

clean: ## forget everything that was set up or run here
	@test ! -d .stepway || $(BIN)/python -m stepway_cli.local.forget .stepway/*
	rm -rf $(VENV) .stepway protos/gen

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Stepway needs Python 3.11 or newer; say which with PYTHON=")'
	@echo "Setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.lock: requirements.lock | $(BIN)/python
	@echo "Installing what Stepway runs on, at the versions and hashes in requirements.lock"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@cp requirements.lock $@

$(VENV)/run.stamp: $(VENV)/run.lock $(PROTOS) protos/build.py $(addsuffix /pyproject.toml,$(PACKAGES))
	@echo "Generating the contracts and linking the packages"
	@$(MAKE) --no-print-directory protos
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index $(addprefix -e ./,$(PACKAGES))
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/run.stamp
	@echo "Installing what the tests and checks need, from requirements-dev.lock"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
