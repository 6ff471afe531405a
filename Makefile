# Every target sets up what it needs by itself, from a bare clone with python3 (3.11 or later) and make.
# ARGS="…" is passed on to the command behind a target.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV ?= uv
READY := $(VENV)/.dev

.DEFAULT_GOAL := help
LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url $(ARGS)

.PHONY: help setup demo quick test long coverage browser prometheus failures image-test deploy-test chart check format bench evaluate kafka sbom audit release \
	docs lock clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): requirements/dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

setup: $(READY)  ## the environment that the other targets use, in .venv

demo: $(READY)  ## a year of real flights through the whole product, on an embedded broker
	$(BIN)/stream-monitor demo $(ARGS)

quick: $(READY)  ## the tests to run at each save: no Kafka, no long properties (a minute)
	$(BIN)/pytest --quick -n auto $(ARGS)

test: $(READY)  ## all tests, real Apache Kafka included
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: $(READY)  ## the lines that the tests without Kafka never run; fails below the floor in pyproject.toml
	mkdir -p build
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m "not kafka and not long and not image" --cov=stream_monitor $(ARGS)

browser: $(READY)  ## a Chromium for the tests of the page: the system's package for root, else Playwright's
	$(BIN)/python -m tests.browsers

prometheus: $(READY)  ## promtool, Prometheus and Alertmanager for the tests of rules, by root on a Debian
	$(BIN)/python -m tests.deploy.prometheus

failures: $(READY)  ## break workers and brokers on purpose, and verify from the input; ARGS="--seeds 100" for more
	STREAM_MONITOR_TEST_EFFORT=4 $(BIN)/pytest -m "long or not long" tests/failures tests/test_promise.py $(ARGS)

long: $(READY)  ## what `test` leaves out for its length: more seeds, and four times as many examples of each property
	STREAM_MONITOR_TEST_EFFORT=4 $(BIN)/pytest -m "(long or not long) and not kafka and not image" -n auto \
		--dist loadfile --no-loadscope-reorder $(ARGS)

image-test: $(READY)  ## build deploy/Dockerfile, run it locked down on a real Kafka, print its size by part
	$(BIN)/pytest -m image -s tests/deploy/test_image.py $(ARGS)

deploy-test: $(READY)  ## the image, docker-compose.yml on podman, and the chart by helm: what `test` leaves out
	$(BIN)/pytest -m image -s tests/deploy $(ARGS)

chart: $(READY)  ## write what deploy/chart makes of its examples into tests/deploy/golden
	$(BIN)/python -m tests.deploy.helm

check: $(READY)  ## lint, format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv-bench/.ready .venv-quix/.ready  ## speed and memory, side by side with the peers
	.venv-bench/bin/python -m benchmarks $(ARGS)

.venv-%/.ready: requirements/%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

evaluate: $(READY)  ## detection quality: false alarms, delays, labelled streams; ARGS=--quick for a rough look
	$(BIN)/stream-monitor evaluate $(ARGS)

kafka: $(READY)  ## a real Apache Kafka on this machine, until Ctrl-C
	$(BIN)/python -m stream_monitor.kafka.local $(ARGS)

sbom: .venv-audit/.ready  ## what the image is made of, as CycloneDX JSON with hashes, in build/sbom.json
	mkdir -p build
	.venv-audit/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of JSON \
		-o build/sbom.json requirements/image.txt

audit: .venv-audit/.ready  ## known vulnerabilities of the runtime requirements; fails with NOT AUDITED if nobody can tell
	.venv-audit/bin/python requirements/audit.py $(ARGS)

release: $(READY) .venv-release/.ready  ## make and prove what a release publishes, in dist/; ARGS="--rehearse --no-image"
	$(BIN)/python deploy/release.py $(ARGS)

docs: $(READY) .venv-docs/.ready  ## the documentation as a site, in build/site; ARGS=serve shows it on port 8000
	$(BIN)/python docs/make_settings.py
	$(BIN)/python docs/make_reference.py
	.venv-docs/bin/mkdocs $(or $(ARGS),build --strict --quiet)

lock:  ## pin what is not pinned yet, with hashes; ARGS=--upgrade for everything anew (needs uv, UV=… names it)
	$(LOCK) pyproject.toml -o requirements/runtime.txt
	printf "hatchling\n" | $(LOCK) - -o requirements/build.txt
	$(LOCK) pyproject.toml --group dev -o requirements/dev.txt
	$(LOCK) pyproject.toml --extra image -c requirements/dev.txt -o requirements/image.txt
	$(LOCK) pyproject.toml --group bench -o requirements/bench.txt
	printf "quixstreams>=3.20\nriver\n" | $(LOCK) - -o requirements/quix.txt
	printf "mkdocs-material>=9\n" | $(LOCK) - -o requirements/docs.txt
	$(LOCK) pyproject.toml --extra demo --extra dashboard -c requirements/dev.txt -o requirements/demo.txt
	printf "twine>=6\ncyclonedx-bom>=7\n" | $(LOCK) - -o requirements/release.txt
	printf "cyclonedx-bom>=7\npip-audit>=2.9\n" | $(LOCK) - -o requirements/audit.txt

clean:  ## remove environments and caches
	rm -rf .venv .venv-audit .venv-bench .venv-docs .venv-quix .venv-release .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
