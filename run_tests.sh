#!/usr/bin/env bash
# Run the tests: ./run_tests.sh [pytest options], for example ./run_tests.sh -m "not slow" tests/test_metrics.py
# Without options: all of them in two processes, file by file (what a file makes once is made once), in the order of their names.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
source "$ROOT/scripts/setup_env.sh"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # two processes with two threads each on two cores mostly wait for each other
[ $# -gt 0 ] || set -- -n 2 --dist loadfile --no-loadscope-reorder
exec "$PYTHON" -m pytest --rootdir "$ROOT" -c "$ROOT/pyproject.toml" "$@"
