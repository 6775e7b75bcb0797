# The two that a newcomer needs are `make up` and `make test`; both set this machine up first.
PYTHON := .venv/bin/python
JOBS ?= 6

# Each of the hundreds of processes that the tests start would compile the same modules again.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: ui up down test real-mesos simulate faults fuzz explore lint format bench churn edge-load lock setup setup-test clean screenshots ui-large

up: setup ui  ## run the platform on this machine; ARGS='--detach …' passes flags to `dromos up`
	.venv/bin/dromos up $(ARGS)

down:  ## stop it, and every task and container that it runs
	.venv/bin/dromos down $(ARGS)

test: setup-test ui  ## all tests; ARGS='-k name' passes flags to pytest
	@PATH="$$PATH:$(CURDIR)/.venv/node" $(PYTHON) -m pytest -q -n $(JOBS) --dist loadgroup --reruns 1 -rfER $(ARGS)

real-mesos: setup-test  ## the whole API and deployment suite on Apache Mesos 1.11; ARGS='-k name' passes flags to pytest
	@DROMOS_TEST_MESOS=real $(PYTHON) -m pytest -q -n 2 --dist loadgroup -k "real and not fuzz" tests/framework/api tests/real_mesos \
		tests/integration/framework tests/contract/mesos $(ARGS)

simulate: setup-test  ## schedules of the simulated framework: RUNS=100000 many, SEED=4711 one with its story
	@$(PYTHON) -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(RUNS),--runs $(RUNS)) $(if $(FIRST),--first $(FIRST))

fuzz: setup-test  ## 10,000 generated requests, and 50 for each operation of the API's description; EXAMPLES=…
	DROMOS_EXPLORE=1 DROMOS_FUZZ_EXAMPLES=$(or $(EXAMPLES),10000) $(PYTHON) -m pytest -q -o timeout=3600 tests/framework/api/test_fuzz.py $(ARGS)

explore: setup-test  ## the property tests with examples that were not tried before: TURNS=10
	@for turn in $$(seq $(or $(TURNS),1)); do \
		DROMOS_EXPLORE=1 $(PYTHON) -m pytest -q -n $(JOBS) --dist loadgroup -m hypothesis $(ARGS) || exit 1; done

faults: setup-test  ## break the real daemons in network namespaces, as root; ARGS='--only TEXT --mesos embedded|real --write'
	@$(PYTHON) -m tests.integration.faults $(ARGS)

lint: setup-test  ## style, types, layers
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

format: setup-test
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

edge-load: setup-test  ## load on the whole platform while everything changes; ARGS='--targets haproxy --requests 200000'
	$(PYTHON) -m bench.edge_load $(ARGS)

bench: setup-test  ## the benchmarks, each printing a table
	$(PYTHON) -m bench $(ARGS)

churn: setup-test  ## 30 simulated minutes of changes and faults, from the framework through Consul to the file
	$(PYTHON) -m tests.churn $(ARGS)

lock: setup-test  ## pin requirements*.txt to requirements*.lock
	scripts/lock.sh

ui:  ## bundle the web UI
	@python3 scripts/build_ui.py

screenshots: setup-test ui  ## every page of the web UI as a picture, in build/screenshots
	$(PYTHON) -m tests.ui.screenshots $(ARGS)

ui-large: setup-test ui  ## the web UI with 2,000 applications and 20,000 tasks, measured
	$(PYTHON) -m tests.ui.large $(ARGS)

setup:
	@python3 scripts/setup.py run

setup-test:
	@python3 scripts/setup.py test

clean:
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis build *.egg-info
