#!/bin/sh
# `make interop`: opens Octavo's outputs with the Python libraries that read them, and holds every byte against PyTorch.
# Makes a virtual environment from PyPI once (about 6 GB: PyPI's torch brings CUDA). Arguments go to check.py:
#   tools/interop.sh [--only TEXT] [--gguf FILE]
# OCTAVO: the command to check (build/release/octavo). OCTAVO_VENV: the environment (build/interop-venv).
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
octavo=${OCTAVO:-$root/build/release/octavo}
venv=${OCTAVO_VENV:-$root/build/interop-venv}
requirements=$root/tools/interop/requirements.txt

if [ ! -f "$octavo" ] || [ ! -x "$octavo" ]; then
  echo "interop: $octavo is not there; run \`make build\` first, or set OCTAVO to the command" >&2
  exit 1
fi
# A copy of the requirements inside the environment says what it was made from.
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
  echo "interop: installing $(grep -v '^#' "$requirements" | tr '\n' ' ')into $venv"
  mkdir -p "$(dirname "$venv")"
  [ -x "$venv/bin/pip" ] || python3 -m venv --clear "$venv" || {
    echo "interop: python3 -m venv failed; on Debian install python3-venv" >&2
    exit 1
  }
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
  cp "$requirements" "$venv/requirements.txt"
fi
export PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" "$root/tools/interop/check.py" --octavo "$(realpath "$octavo")" \
  --work "$root/build/interop" "$@"
