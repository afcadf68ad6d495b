# Every verb a person needs. The lock files are the only input of an installation.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --quiet --disable-pip-version-check --no-input install --require-hashes
BASE := $(VENV)/base.installed
DEV := $(VENV)/dev.installed

BUNDLE ?= models/default
KILLS ?= 200
FRAMES ?= 100000
SECONDS ?= 60
DATA ?=
NAME ?= $(if $(DATA),$(notdir $(DATA:%/=%)),synthetic)
SCRIPTS := .ci/run $(wildcard firmware_scripts/*.sh) $(addprefix firmware_scripts/debian/,postinst prerm)

.DEFAULT_GOAL := help
.PHONY: help setup demo test scripts suite machine train benchmark techreport chaos soak film fuzz words check audit lock package clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(BASE) ## make .venv with what the device needs (no torch)
	@echo ".venv is ready"

demo: $(BASE) ## engine and page on sample frames: http://127.0.0.1:8080, Ctrl-C stops
	@exec $(RUN) -m edge run --config models/demo.toml

test: $(DEV) ## install what the tests need and run them all: the scripts' beside those in Python
	@$(MAKE) --no-print-directory --jobs 2 --keep-going scripts suite

scripts: $(DEV) ## shellcheck, shfmt and bats; what bats said comes in one piece
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS) && echo "shellcheck: clean"; \
	else echo "shellcheck: skipped, it is not installed"; fi
	@if command -v shfmt >/dev/null; then shfmt -d -i 4 -ci $(SCRIPTS) && echo "shfmt: clean"; \
	else echo "shfmt: skipped, it is not installed"; fi
	@if command -v bats >/dev/null; then said=$$(bats tests/firmware_scripts 2>&1); status=$$?; \
	    echo "$$said"; exit $$status; else echo "bats: skipped, it is not installed"; fi

suite: $(DEV) ## pytest; what fails beside others runs once more alone
	@export OMP_NUM_THREADS=1; $(RUN) -m pytest tests --numprocesses 2 --dist loadfile || { echo "once more, alone:"; \
	    $(RUN) -m pytest tests --last-failed --last-failed-no-failures none; }

machine: $(DEV) ## as root: a station's life on a machine that boots with systemd, some minutes; DEBIAN=root of debootstrap
	@exec $(RUN) -m pytest -q -rs --minutes $(if $(DEBIAN),--debian "$(DEBIAN)") tests/systemd

train: $(DEV) ## photos -> bundle: DATA=folder NAME=name; without DATA a synthetic product
	@exec $(RUN) -m train all $(if $(DATA),--data "$(DATA)",--config train/configs/synthetic.toml) --name "$(NAME)"

benchmark: $(BASE) ## BUNDLE=models/default on this CPU: benchmark/benchmark.html; TIER=all, COMPARE=OLD.json
	@mkdir -p benchmark
	@exec $(RUN) -m edge bench --bundle "$(BUNDLE)" --out benchmark \
	    $(if $(TIER),--tier "$(TIER)") $(if $(COMPARE),--compare "$(COMPARE)")

techreport: $(DEV) ## technical report of BUNDLE, measured on DATA=folder (synthetic): evidence/techreport.html and .json
	@mkdir -p evidence
	@$(if $(DATA),,test -d data/synthetic || $(RUN) -m train synth --out data/synthetic)
	@$(RUN) -m train evaluate --bundle "$(BUNDLE)" --data "$(or $(DATA),data/synthetic)" \
	    --json evidence/techreport-evaluate.json
	@$(RUN) -m edge bench --bundle "$(BUNDLE)" --tier all --n 100 --quick --budget-ms 60000 \
	    --json evidence/techreport-benchmark.json
	@exec $(RUN) -m train report --bundle "$(BUNDLE)" --data "$(or $(DATA),data/synthetic)" \
	    --evaluation evidence/techreport-evaluate.json --benchmark evidence/techreport-benchmark.json \
	    $(if $(WORK),--work "$(WORK)") --out evidence/techreport.html

check: $(DEV) ## ruff, mypy, import-linter
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(VENV)/bin/lint-imports

audit: $(BASE) ## known vulnerabilities of what a station installs; OSV=all.zip: without a network, of PACKAGES=lock or sbom.json
	@$(if $(OSV),exec $(RUN) firmware_scripts/advisories.py "$(OSV)" "$(or $(PACKAGES),requirements/base.lock)", \
	    command -v pip-audit >/dev/null || { echo "linewatch: pip-audit is not installed; run: pipx install" \
	    "pip-audit, or give advisories that are here: make audit OSV=all.zip" >&2; exit 1; }; \
	    exec pip-audit --strict --disable-pip --require-hashes -r requirements/base.lock)

chaos: $(BASE) ## break the engine KILLS=200 times with BUNDLE and prove what must hold: evidence/chaos.html
	@exec $(RUN) -m edge chaos --bundle "$(BUNDLE)" --kills "$(KILLS)"

soak: $(BASE) ## FRAMES=100000 triggers at full speed with BUNDLE: evidence/soak.html
	@exec $(RUN) -m edge soak --bundle "$(BUNDLE)" --frames "$(FRAMES)"

film: $(BASE) ## photos go by BUNDLE, DATA=folder of photos (models/samples): evidence/film.mp4 and film.webp
	@exec $(RUN) -m edge film --bundle "$(BUNDLE)" --photos "$(or $(DATA),models/samples)"

fuzz: $(DEV) ## SECONDS=60 of random input for each reader of files and of the network; findings stay in .hypothesis
	@exec $(RUN) -m pytest -q tests/fuzz --fuzz-seconds "$(SECONDS)"

words: $(DEV) ## bring each catalogue of edge/core/languages up to the texts in the code
	@exec $(RUN) -m tests.edge.web.words

lock: ## regenerate both lock files (needs uv)
	@command -v uv >/dev/null || { echo "linewatch: uv is not installed; run: pip install uv" >&2; exit 1; }
	@uv pip compile --quiet pyproject.toml --universal --python-version 3.11 --generate-hashes \
	    -o requirements/base.lock
	@uv pip compile --quiet --group pyproject.toml:tools --universal --python-version 3.11 --generate-hashes \
	    -o requirements/tools.lock
	@uv pip compile --quiet pyproject.toml --extra train --group test --group check -c requirements/base.lock \
	    --universal --python-version 3.11 --generate-hashes -o requirements/dev.lock

package: $(DEV) ## dist/linewatch-*.tar: all that installs a station without a network
	@firmware_scripts/package.sh

clean: ## remove caches and results; keeps .venv, data, runs and bundles
	@rm -rf build dist benchmark evidence *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	@find edge train tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { echo "linewatch: $(PYTHON) is missing or older than 3.11; run: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null || \
	    { echo "linewatch: $(PYTHON) cannot make $(VENV); install its venv module (Debian: python3-venv)" >&2; \
	    rm -rf $(VENV); exit 1; }

$(BASE): requirements/base.lock | $(RUN)
	@echo "Installing what the device needs into $(VENV) (once, about 530 MB) ..."
	@$(PIP) --only-binary :all: -r $<
	@touch $@

$(DEV): requirements/dev.lock | $(BASE)
	@echo "Installing what training and the tests need into $(VENV) (once, some GB) ..."
	@$(PIP) -r $<
	@touch $@
