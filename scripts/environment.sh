# Sourced by the other scripts: one virtual environment in .venv, made once.

# environment EXTRAS - install this checkout with the given extras and activate.
environment() {
    local extras=$1 python=${PYTHON:-python3} stamp
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "Python 3.11 or newer is needed; $("$python" --version) was found." \
            "Name another with PYTHON=..." >&2
        return 1
    }
    if [ ! -x .venv/bin/python ]; then
        "$python" -m venv .venv 2>/dev/null || {
            rm -rf .venv
            "$python" -m pip install --quiet --user virtualenv && "$python" -m virtualenv -q .venv
        } || {
            echo "No virtual environment could be made; install your system's python3-venv." >&2
            return 1
        }
    fi
    stamp=".venv/installed-$extras"
    if [ ! "$stamp" -nt pyproject.toml ]; then
        echo "Installing into .venv (about two minutes the first time) ..."
        .venv/bin/python -m pip install --quiet --editable ".[$extras]"
        touch "$stamp"
    fi
    PATH="$PWD/.venv/bin:$PATH"
    export PATH
}
