#!/usr/bin/env bash
# Rebuild every table and figure of the paper: ./run_all.sh [smoke|nano|small|ablations|sessions|bias|paper] [options], see ./run_all.sh --help
# First use makes .venv and installs requirements.lock; every later run starts at once and does only what has changed.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)"
source "$ROOT/scripts/setup_env.sh"
trap "" INT # until the runner itself takes Ctrl-C: before that Python could only answer it with a traceback
exec "$PYTHON" -P -m polypersona_lib.runner.pipeline "$@"
