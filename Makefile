# Everything a machine needs beyond Python >= 3.11 and make is installed by these rules, from PyPI, pinned and hashed.
.DEFAULT_GOAL := help
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
# Byte code makes the CDK app start in half the time; an environment that forbids it would pay that at every run.
unexport PYTHONDONTWRITEBYTECODE

STAGE ?= dev
# Whether a deploy asks before it widens permissions; `never` where nobody is there to answer.
APPROVAL ?= broadening
# `make check AUDIT=yes` asks PyPI about every package too; not by default, since not every machine may ask about so many.
AUDIT ?=
UV_VERSION := $(shell sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements.txt)
PATH := $(CURDIR)/.venv/bin:$(PATH)
export PATH
# No Python is ever downloaded: the one that is here, or a clear word that there is none.
export UV_PYTHON_DOWNLOADS := never
UV := .venv/bin/uv
# Two processes: one has the local AWS and all that runs against it, the other the rest meanwhile.
SIDE_BY_SIDE := --numprocesses 2 --dist loadscope
RUN := .venv/bin/python

.PHONY: help demo dev test check lint types layers security docs audit test-newest deploy destroy lock format clean

help: ## Print these targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

demo: .venv/.installed .ministack/.installed ## Local AWS, real deploy, real jobs (ONLY=TYPE: of that type), their results; then everything is stopped
	@$(RUN) -m jobline.demo $(ONLY)

dev: .venv/.installed .ministack/.installed ## The same stack left running, redeployed when a file changes; Ctrl-C stops it
	@$(RUN) -m jobline.dev

test: .venv/.installed .ministack/.installed .schemathesis/.installed ## All tests: unit, moto, infra, end to end on a local AWS
	@$(RUN) -m pytest $(SIDE_BY_SIDE)

check: lint types layers security $(if $(AUDIT),audit) docs test-newest test ## What CI runs: lint, types, layers, security gates, documentation, the quick tests on the newest Python here, all tests

lint: .venv/.installed ## ruff: rules and format
	@ruff check .
	@ruff format --check .

types: .venv/.installed ## mypy, strict
	@mypy

layers: .venv/.installed ## import-linter: who may import whom
	@lint-imports

security: .venv/.installed .gates/.installed ## cdk-nag, checkov and cfn-lint over what is deployed
	@$(RUN) -m infra.gates

docs: .venv/.installed .docs/.installed ## The documentation as a site, in build/site; a broken link fails
	@rm -rf build/docs && mkdir -p build && cp -r docs build/docs
	@$(RUN) -m jobline.reference build/docs
	@NO_MKDOCS_2_WARNING=1 .docs/bin/mkdocs build
	@echo "The documentation is in build/site/index.html"

audit: .venv/.installed .gates/.installed ## pip-audit: known vulnerabilities of what the lock files name; asks PyPI about each package
	@$(RUN) -m infra.advisories

test-newest: .venv/.installed ## The quick tests on the newest Python found (Lambda runs 3.13)
	@sh .ci/test-newest

format: .venv/.installed ## Let ruff mend what it can
	@ruff check --fix .
	@ruff format .

deploy: .venv/.installed ## Deploy STAGE (default dev) into the AWS account of your credentials
	cdk deploy --require-approval $(APPROVAL) -c stage=$(STAGE)

destroy: .venv/.installed ## Remove STAGE from the AWS account of your credentials
	cdk destroy -c stage=$(STAGE)

lock: .venv/bin/uv ## Compile the lock files anew from pyproject.toml and functions/*/requirements.txt
	@.ci/lock

clean: ## Remove everything that make installed or built
	rm -rf .venv .ministack .gates .docs .schemathesis .jobline .cache cdk.out build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# ---- installation: each stamp is as new as what it was made from, so a second run does nothing ----

.venv/.installed: requirements.txt requirements-dev.txt pyproject.toml .venv/bin/uv
	@echo "Installing the pinned tools into .venv"
	@$(UV) pip sync -q --require-hashes --python .venv requirements.txt requirements-dev.txt
	@$(UV) pip install -q --no-deps --python .venv -e .
	@touch $@

.ministack/.installed: requirements-emulator.txt .venv/bin/uv
	@echo "Installing the local AWS into .ministack"
	@$(UV) venv -q --clear --python .venv/bin/python .ministack
	@$(UV) pip sync -q --require-hashes --python .ministack requirements-emulator.txt
	@touch $@

.gates/.installed: requirements-gates.txt .venv/bin/uv
	@echo "Installing the security gates' tools into .gates"
	@$(UV) venv -q --clear --python .venv/bin/python .gates
	@$(UV) pip sync -q --require-hashes --python .gates requirements-gates.txt
	@touch $@

.schemathesis/.installed: requirements-contract.txt .venv/bin/uv
	@echo "Installing schemathesis into .schemathesis"
	@$(UV) venv -q --clear --python .venv/bin/python .schemathesis
	@$(UV) pip sync -q --require-hashes --python .schemathesis requirements-contract.txt
	@touch $@

.docs/.installed: requirements-docs.txt .venv/bin/uv
	@echo "Installing what makes the documentation into .docs"
	@$(UV) venv -q --clear --python .venv/bin/python .docs
	@$(UV) pip sync -q --require-hashes --python .docs requirements-docs.txt
	@touch $@

.venv/bin/uv:
	@.ci/make-venv "$(UV_VERSION)"
