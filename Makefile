# Two commands: `make demo` trains and predicts on simulated scans; `make test` checks everything.
# Both need Python 3.11 or newer with pip, and make; they keep what they install in .venv.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types docs unit wheel oldest web clean

demo: .venv/.installed
	BIN="$(abspath $(BIN))" sh docs/demo.sh

test: lint types docs unit wheel

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Laid out as it will be installed, so that score_jax.cli and score_jax.pretrained are found.
types: .venv/.installed-test
	rm -rf build/typed
	mkdir -p build/typed
	cp -R score_jax build/typed/score_jax
	cp -R cli build/typed/score_jax/cli
	cp -R checkpoints build/typed/score_jax/pretrained
	$(BIN)/basedpyright

# The site in build/site; a broken link, a page that no menu names or a stale quotation fails.
docs: .venv/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

unit: .venv/.installed-test
	$(BIN)/python -m pytest -q -n 2 --dist worksteal --durations=10

# What users get: the wheel in a clean environment, far from the sources.
wheel: .venv/.installed-test
	rm -rf dist build/wheel-check
	$(BIN)/python -m build --outdir dist .  # the wheel is built from the sdist, so both are whole
	@test "$$(wc -c < "$$(ls dist/*.whl)")" -lt 50000000 || { echo "the wheel has over 50 MB"; exit 1; }
	$(PYTHON) -m venv build/wheel-check/venv
	build/wheel-check/venv/bin/pip install --quiet dist/*.whl
	BIN="$(abspath build/wheel-check/venv/bin)" sh tests/wheel_check.sh

# The lower bounds of pyproject.toml are true: every dependency at its oldest, and tests that touch each.
# (Not part of `make test`. Newer programs warn of what old ones call, so warnings are no errors here.)
oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	.venv-oldest/bin/uv pip install --python .venv-oldest/bin/python --resolution lowest-direct -e ".[test]"
	sh tests/oldest.sh .venv-oldest/bin/python

# The page of `score-jax view` and the shipped models as it needs them (docs/web.md); needs Node 20.
web: .venv/.installed-test
	cd web && npm ci && npm run build
	$(BIN)/python web/pack.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml | .venv/bin/python
	@echo "Installing score-jax and what it needs into .venv (a minute or two) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/.installed-test: pyproject.toml | .venv/bin/python
	@echo "Installing score-jax and what its tests need into .venv (a minute or two) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test,docs]"
	@touch $@ .venv/.installed

clean:
	rm -rf .venv .venv-oldest build dist demo *.egg-info
