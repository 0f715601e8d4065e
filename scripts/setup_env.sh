# Sourced by run_all.sh and run_tests.sh after they set ROOT. Sets PYTHON to an interpreter whose packages satisfy requirements.lock:
# the activated environment (venv or conda) if it does, else the project's own .venv, which is made on first use.
# Variables: POLYPERSONA_PYTHON (interpreter to build .venv with), POLYPERSONA_TORCH_INDEX (wheel index for PyTorch),
# POLYPERSONA_SKIP_SETUP=1 (use the active interpreter as it is, whatever its versions).

setup_say() { printf '%s\n' "$*" >&2; }

setup_active_python() {
    if [ -n "${VIRTUAL_ENV:-}" ] && [ -x "$VIRTUAL_ENV/bin/python" ]; then
        printf '%s\n' "$VIRTUAL_ENV/bin/python"
    elif [ -n "${CONDA_PREFIX:-}" ] && [ -x "$CONDA_PREFIX/bin/python" ]; then
        printf '%s\n' "$CONDA_PREFIX/bin/python"
    else
        command -v python3 || command -v python || true
    fi
}

setup_find_base() {
    for candidate in ${POLYPERSONA_PYTHON:+"$POLYPERSONA_PYTHON"} python3.11 python3.12 python3.13 python3 python; do
        path="$(command -v "$candidate" 2>/dev/null)" || continue
        if "$path" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then
            printf '%s\n' "$path"
            return 0
        fi
    done
    return 1
}

setup_make_venv() {
    base="$(setup_find_base)" || base=""
    if [ -n "${POLYPERSONA_PYTHON:-}" ] && [ "$base" != "$(command -v "$POLYPERSONA_PYTHON" 2>/dev/null)" ]; then
        setup_say "set-up: POLYPERSONA_PYTHON=$POLYPERSONA_PYTHON is no Python 3.11, 3.12 or 3.13 with the venv module; name another one, or unset it"
        return 1
    fi
    [ -n "$base" ] || {
        setup_say "set-up: no Python 3.11, 3.12 or 3.13 with the venv module on PATH (on Debian and Ubuntu: apt install python3-venv)."
        return 1
    }
    began=$(date +%s)
    setup_say "== set-up: packages of requirements.lock into $VENV ($("$base" --version 2>&1), once; run again to resume)"
    if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        rm -rf "$VENV"
        "$base" -m venv "$VENV" || return 1
    fi
    rm -f "$STAMP"
    "$VENV/bin/python" "$ROOT/scripts/setup_env.py" install >&2 || return 1
    "$VENV/bin/python" "$ROOT/scripts/setup_env.py" stamp >"$STAMP.new" && mv "$STAMP.new" "$STAMP" || return 1
    # Packages are installed without compiling all they hold; this compiles what the notebooks import, so that nobody waits for it at the first question.
    PYTHONPATH="$ROOT" "$VENV/bin/python" -c 'from polypersona_lib import registry
from polypersona_lib.figures import score_figures
from polypersona_lib.models import loading
from polypersona_lib.probe import page
from polypersona_lib.scoring import answering, evaluation
for spec in registry.MODELS.values(): loading.load_base(spec, "nano")' >/dev/null 2>&1 || true
    setup_say "== set-up: done in $(($(date +%s) - began)) s"
}

setup_venv_ready() {
    [ -f "$STAMP" ] && [ "$("$VENV/bin/python" "$ROOT/scripts/setup_env.py" stamp 2>/dev/null)" = "$(cat "$STAMP")" ] &&
        "$VENV/bin/python" "$ROOT/scripts/setup_env.py" check >/dev/null 2>&1
}

setup_python() {
    VENV="$ROOT/.venv"
    STAMP="$VENV/.polypersona-stamp"
    active="$(setup_active_python)"
    if [ "${POLYPERSONA_SKIP_SETUP:-}" = 1 ] && [ -n "$active" ]; then
        setup_say "== set-up: skipped on request, using $active as it is"
        PYTHON="$active"
        return 0
    fi
    if [ -n "$active" ] && "$active" "$ROOT/scripts/setup_env.py" check >/dev/null 2>&1; then
        PYTHON="$active"
        return 0
    fi
    PYTHON="$VENV/bin/python"
    if setup_venv_ready; then
        return 0
    fi
    if [ ! -w "$ROOT" ]; then
        setup_say "set-up: $ROOT is not writable for you; clone the project into a folder of your own"
        return 1
    fi
    if command -v flock >/dev/null 2>&1; then
        exec 9>"$ROOT/.venv.lock"
        flock -n 9 || { setup_say "== set-up: another set-up is running in this folder, waiting for it"; flock 9; }
        setup_venv_ready || setup_make_venv || return 1
        exec 9>&-
    else
        setup_make_venv || return 1
    fi
}

# A stream that was closed leaves its number to the next file that is opened, and what is printed would go there.
{ : >&2; } || exec 2>/dev/null
{ : >&1; } 2>/dev/null || exec >/dev/null
{ : <&0; } 2>/dev/null || exec </dev/null
unset PYTHONHOME
# A run is some thirty processes; forbidden to keep what they compile, each would compile the same three thousand files (7 s for 15 where both were measured).
unset PYTHONDONTWRITEBYTECODE
setup_python || exit 1
# The real model lies in a package of its own; an environment made with conda gets it here.
[ "${POLYPERSONA_SKIP_SETUP:-}" = 1 ] || "$PYTHON" "$ROOT/scripts/setup_env.py" models >&2 || true
"$PYTHON" "$ROOT/scripts/setup_env.py" filter >/dev/null 2>&1 || true  # JupyterLab saves what is opened; a clone stays clean
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
