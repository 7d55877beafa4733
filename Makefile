# `make serve` and `make test` do all of their own set-up; run again, they only do what has changed.

PYTHON ?= python3
VENV ?= .venv
# PyTorch's default build for Linux brings gigabytes of CUDA. Without an NVIDIA GPU the CPU build is taken from PyTorch's
# own index where that can be reached. Set this to nothing to install torch from the ordinary index.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi 2>/dev/null),,https://download.pytorch.org/whl/cpu)

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SHARED := $(VENV)/.installed-service
DEVELOPER := $(VENV)/.installed-developer

.PHONY: serve test check audit fuzz format bench report gallery train train-smoke lock compose-test help

help:
	@echo "make serve   start the service on http://127.0.0.1:8000"
	@echo "make test    run the tests"
	@echo "make check   lint, format, types, bandit, audit"
	@echo "make audit   look dependencies up in the lists of known holes"
	@echo "make fuzz    a thousand requests made up from the OpenAPI description"
	@echo "make format  mend what make check finds, where that is mechanical"
	@echo "make bench   measure speed; writes benchmarks/RESULTS.md"
	@echo "make report  report card of every shipped student: make report DATA=folder of sharp pictures [CLIPS=folder of videos]"
	@echo "make gallery write docs/gallery.jpg, the README's pictures"
	@echo "make train-smoke   teacher, student, report, export and fusion on ten pictures, to see that it works"
	@echo "make compose-test  build the images and try the whole deployment; needs Docker"
	@echo "make lock    write the versions that are installed here to docker/constraints.txt"
	@echo "make train   train a student: make train DATA=folder OUT=runs/mine"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { rm -f $(BIN)/python; echo "No venv module: apt-get install python3-venv"; exit 1; }

$(SHARED): pyproject.toml | $(BIN)/python
	@echo "Installing Clearcall into $(VENV) (a few minutes the first time)"
	@if [ -n "$(TORCH_INDEX)" ] && ! $(BIN)/python -c 'import torch' 2>/dev/null; then \
		$(PIP) --retries 0 --timeout 15 --index-url $(TORCH_INDEX) 'torch>=2.6' 2>/dev/null || true; \
	fi
	@$(PIP) --editable .
	@touch $@

$(DEVELOPER): $(SHARED) pyproject.toml
	@echo "Installing what tests and checks need"
	@$(PIP) --editable '.[trainer,dev]'
	@touch $@

serve: $(SHARED)
	@$(BIN)/python -m desktop serve

test: $(DEVELOPER)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
		echo "The page's test needs Chromium: apt-get install chromium"
	$(BIN)/python -m pytest

check: $(DEVELOPER)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive clearcall desktop service trainer
	@$(MAKE) --no-print-directory audit

# pip-audit asks osv.dev for known holes; where that cannot be reached, it says so and fails nothing.
audit: $(DEVELOPER)
	@if $(BIN)/python -c 'import urllib.request as r; r.urlopen("https://api.osv.dev/v1/vulns/GHSA-9hjg-9r4m-mvj7", timeout=5)' 2>/dev/null; \
		then $(BIN)/pip-audit --vulnerability-service osv --skip-editable; \
		else echo "pip-audit: no answer from osv.dev, dependencies were not looked up"; fi

# A thousand and more requests made up from the OpenAPI description.
fuzz: $(DEVELOPER)
	$(BIN)/python -m tests.contract.fuzz

format: $(DEVELOPER)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEVELOPER)
	$(BIN)/python -m benchmarks

gallery: $(DEVELOPER)
	$(BIN)/python -m benchmarks.gallery

DATA ?= tests/samples
CLIPS ?=
REPORTS ?= reports
report: $(DEVELOPER)
	@for weights in service/weights/*.safetensors; do \
		name=$$(basename $$weights .safetensors); \
		$(BIN)/clearcall-train evaluate --checkpoint $$weights --data $(DATA) --region both --still \
			$(if $(CLIPS),--clips $(CLIPS) --recordings --look-ahead) --html $(REPORTS)/$$name.html --json $(REPORTS)/$$name.json \
			--grids $(REPORTS)/$$name || exit 1; \
	done

train: $(DEVELOPER)
	$(BIN)/clearcall-train distill --data $(DATA) --out $(OUT)

train-smoke: $(DEVELOPER)
	rm -rf runs/smoke
	$(BIN)/clearcall-train teacher examples/smoke-teacher.toml
	$(BIN)/clearcall-train distill examples/smoke-student.toml
	$(BIN)/clearcall-train evaluate --checkpoint runs/smoke/student/student.safetensors \
		--teacher runs/smoke/teacher/teacher.safetensors --data examples/pictures --region crop \
		--log runs/smoke/student/log.jsonl --html runs/smoke/report.html --json runs/smoke/report.json
	$(BIN)/clearcall-train export --checkpoint runs/smoke/student/student.safetensors --out runs/smoke/
	$(BIN)/clearcall-train export --checkpoint runs/smoke/student/student.safetensors --out runs/smoke/ --onnx
	$(BIN)/clearcall-train fusion --data examples/pictures --out runs/smoke/fusion --samples 15 --steps 10 --batch 4 --students nano

lock: $(DEVELOPER)
	$(BIN)/python docker/lock.py

compose-test: $(DEVELOPER)
	$(BIN)/python docker/compose_test.py $(COMPOSE_TEST)
