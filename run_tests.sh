#!/usr/bin/env bash
# Run the tests: ./run_tests.sh [pytest options], for example ./run_tests.sh -m "not slow" tests/test_metrics.py
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
source "$ROOT/scripts/setup_env.sh"
exec "$PYTHON" -m pytest --rootdir "$ROOT" -c "$ROOT/pyproject.toml" "$@"
