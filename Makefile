# From a fresh clone: `make demo` and `make test` need Python 3.11+ and pip, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# What Qt and OpenGL need on Debian and Ubuntu, and the virtual display that GUI tests run in.
APT_PACKAGES := xvfb xauth libgl1-mesa-dri libegl1 libgl1 libopengl0 libxkbcommon-x11-0 libdbus-1-3 \
	libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 \
	libxcb-shape0 libxcb-xinerama0

# Threads that wait sleep instead of spinning: on a machine that is busy otherwise, spinning costs many times the work.
export OMP_WAIT_POLICY := passive
# Compiled once, not by each program that a test starts.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test lint format build try-wheel clean system-packages

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: $(STAMP) system-packages ## predict the packaged section; shows a window, or writes PNG and h5ad
	$(BIN)/napari-stem demo

PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Those in a window apart: a process that has done both kinds holds half as much memory again. What decodes a whole slide
# first, while little else is loaded.
test: $(STAMP) system-packages ## run all tests (ARGS="-k name" to choose)
ifdef ARGS
	$(PYTEST) $(ARGS)
else
	$(PYTEST) tests/integration tests/unit
	$(PYTEST) tests/gui
endif

lint: $(STAMP) ## ruff, mypy, import-linter, the manifest
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari_stem

format: $(STAMP) ## let ruff mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: $(STAMP) ## build wheel and source archive into dist/, and check them
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist

try-wheel: system-packages ## install the wheel as a stranger would, and predict in a window (TORCH="torch==2.13.0 triton")
	$(PYTHON) scripts/try_wheel.py $(TORCH)

clean: ## remove the environment, builds and caches
	rm -rf $(VENV) build dist demo-output .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +

# --without-pip: Debian's Python lacks ensurepip unless python3-venv is installed; the pip outside serves.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "napari-stem needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
			"Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { \
		echo "$(PYTHON) has no pip; install it first (Debian: apt-get install python3-pip)." >&2; exit 1; }
	$(PYTHON) -m venv --without-pip --clear $(VENV)
	$(PYTHON) -m pip --python $(BIN)/python install --disable-pip-version-check -c constraints.txt \
		-e ".[qt,test,lint]"
	@touch $@

# Debian and Ubuntu only. Without root it says which line to run; GUI tests then skip and say why.
system-packages:
	@command -v apt-get >/dev/null || exit 0; \
	missing=$$(for package in $(APT_PACKAGES); do \
		dpkg-query -W -f '$${db:Status-Status}\n' $$package 2>/dev/null | grep -qx installed || echo $$package; \
	done | tr '\n' ' '); \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" != 0 ]; then \
		echo "For windows and GUI tests, run: sudo apt-get install $$missing" >&2; exit 0; \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; } || \
		echo "These packages could not be installed, windows may not open: $$missing" >&2
