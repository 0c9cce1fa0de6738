#!/bin/sh
# With every dependency at the oldest version that pyproject.toml allows: tests that call each of them.
# $1 is the Python of such an environment (`make oldest` makes one).
# Old test programs do not know some of our options, and new libraries warn of what old ones call.
set -eu
"$1" -m pytest -q -p no:cacheprovider -m "not slow" -o filterwarnings=default \
  -o "addopts=--import-mode=importlib --strict-markers" \
  tests/arrays tests/imaging tests/test_config.py tests/test_cli.py tests/test_packaging.py \
  tests/test_startup.py tests/test_fusion.py tests/planning/test_plans.py tests/data/test_discovery.py \
  tests/data/test_prepared.py tests/inference/test_tiling.py tests/metrics/test_surface.py \
  tests/metrics/test_presets.py tests/morphometry/test_tables.py tests/export/test_onnx.py tests/qc
