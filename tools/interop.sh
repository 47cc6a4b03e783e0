#!/bin/sh
# `make interop`: opens Octavo's outputs with the Python libraries that read them, holds every byte against PyTorch, and
# compares with llm-compressor and vLLM. Makes two virtual environments from PyPI once (about 6 GB each: PyPI's torch
# brings CUDA). Arguments go to check.py:
#   tools/interop.sh [--only TEXT] [--sections outputs,llm-compressor,conversions,engines] [--gguf FILE]
# OCTAVO: the command to check (build/release/octavo). OCTAVO_VENV, OCTAVO_VLLM_VENV: the environments
# (build/interop-venv, build/interop-vllm-venv); OCTAVO_VLLM_VENV=none: without vLLM.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
octavo=${OCTAVO:-$root/build/release/octavo}
venv=${OCTAVO_VENV:-$root/build/interop-venv}
vllm_venv=${OCTAVO_VLLM_VENV:-$root/build/interop-vllm-venv}
tools=$root/tools/interop

if [ ! -f "$octavo" ] || [ ! -x "$octavo" ]; then
  echo "interop: $octavo is not there; run \`make build\` first, or set OCTAVO to the command" >&2
  exit 1
fi
make_venv() {  # FOLDER
  mkdir -p "$(dirname "$1")"
  [ -x "$1/bin/pip" ] || python3 -m venv --clear "$1" || {
    echo "interop: python3 -m venv failed; on Debian install python3-venv" >&2
    exit 1
  }
}
# A copy of what an environment was made from stands inside it.
if ! cat "$tools/requirements.txt" "$tools/requirements-llm-compressor.txt" | cmp -s - "$venv/requirements.txt"; then
  echo "interop: installing $(grep -v '^#' "$tools/requirements.txt" | tr '\n' ' ')llmcompressor into $venv"
  make_venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$tools/requirements.txt"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --requirement "$tools/requirements-llm-compressor.txt"
  cat "$tools/requirements.txt" "$tools/requirements-llm-compressor.txt" > "$venv/requirements.txt"
fi
if [ "$vllm_venv" != none ]; then
  if ! cmp -s "$tools/make_vllm_venv.sh" "$vllm_venv/made_by"; then
    echo "interop: installing vLLM's CPU build into $vllm_venv"
    make_venv "$vllm_venv"
    "$tools/make_vllm_venv.sh" "$vllm_venv"
    cp "$tools/make_vllm_venv.sh" "$vllm_venv/made_by"
  fi
  set -- --vllm-python "$vllm_venv/bin/python" "$@"
fi
export PYTHONDONTWRITEBYTECODE=1
case " $* " in
*" --sections "* | *" --only "*) ;;
*) "$venv/bin/python" "$tools/experts.py" "$(realpath "$octavo")" "${OCTAVO_INTEROP_WORK:-$root/build/interop}/experts"
   "$venv/bin/python" "$tools/serve.py" "$(realpath "$octavo")"
   "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "$root"
   "$venv/bin/python" "$tools/python.py" "$root"
   "$venv/bin/python" "$tools/lm_eval_check.py" "$(realpath "$octavo")" "${OCTAVO_INTEROP_WORK:-$root/build/interop}/lm_eval" ;;
esac
exec "$venv/bin/python" "$tools/check.py" --octavo "$(realpath "$octavo")" \
  --work "${OCTAVO_INTEROP_WORK:-$root/build/interop}" "$@"
