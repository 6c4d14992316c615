# `make` alone lists what there is. Every target sets up what it needs first.
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-cluster test test-cluster bench check generate format

bin := .venv/bin
# What the demos show: ignite or cassandra, torch or tensorflow.
DATABASE = ignite
FRAMEWORK = torch
show = --database='$(DATABASE)' --framework='$(FRAMEWORK)'
# A heading between the parts of a long output.
part = @printf '\n== %s\n' '$(1)'

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-13s %s\n", $$1, $$2}'

setup: ## Install all that the other targets need (instant when nothing changed)
	@testbed/setup

demo: setup ## Train on three real database nodes, with a trainer killed on the way
	@$(bin)/python -m examples.demo local $(show)

demo-cluster: setup ## The same on a real Kubernetes (the first time it builds one: a quarter of an hour)
	@$(bin)/python -m testbed cluster build
	@$(bin)/python -m examples.demo cluster $(show)

check: setup ## Lint, types, import rules and unit tests: fast
	$(call part,Lint)
	$(bin)/ruff check
	$(bin)/ruff format --check
	sh -n testbed/setup
	bash -n .ci/run
	$(call part,Types)
	$(bin)/mypy
	@# Scripts of an example import their neighbours, as a user's would, and TensorFlow has no types.
	for example in examples/*/train.py; do \
		(cd $${example%/*} && ../../$(bin)/mypy --cache-dir ../../.mypy_cache/examples \
			--allow-untyped-defs --allow-untyped-calls --disable-error-code import-untyped .) \
			|| exit 1; done
	$(call part,Import rules)
	$(bin)/lint-imports
	$(call part,Unit tests)
	$(bin)/pytest --quiet --durations=10 tests/unit

test: check ## All that `check` does, and real Ignite, Cassandra, S3, PyTorch and TensorFlow
	$(call part,The operator in a simulated cluster)
	$(bin)/pytest --quiet --durations=10 tests/simulator
	$(call part,Tests on real servers)
	$(bin)/pytest --quiet --durations=20 tests/databases tests/torch tests/tensorflow

test-cluster: setup ## Tests on a real Kubernetes (the first time it builds one: a quarter of an hour)
	$(bin)/python -m testbed cluster build
	$(bin)/pytest --quiet --durations=10 tests/cluster

bench: setup ## Measure, one JSON line per result
	@$(bin)/python -m benchmarks

generate: setup ## Write the files that follow from code (docs/reference, crds, charts)
	$(bin)/python docs/generate.py
	$(bin)/python -m insitu_operator.crd crds/insitu.dev_trainingjobs.yaml charts/insitu/templates/crd.yaml

format: setup ## Format the code and fix what the linter can fix
	$(bin)/ruff format
	$(bin)/ruff check --fix
