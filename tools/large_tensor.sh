#!/bin/sh
# Proves that memory does not grow with the tensor: one linear of 8 GB, as many rows and as one giant row, against the
# same of 64 MB. Needs 13 GB of disk in build/; prints peak memory and fails when the giant costs over 16 MB more.
set -eu
cd "$(dirname "$0")/.."
octavo=build/release/octavo
work=build/large
limit=16000000

peak() {  # scheme shape -> bytes
  rm -rf "$work"
  build/release/make_checkpoint --out "$work/source" --giant "$2"
  "$octavo" quantize "$work/source" -o "$work/fp8" --scheme "$1" --quiet --json-file "$work/summary.json"
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["peak_memory_bytes"])' "$work/summary.json"
}

failed=0
for case in "dynamic 4096x8192 524288x8192" "block 4096x8192 524288x8192" "tensor 4096x8192 524288x8192" \
            "dynamic 1x33554432 1x4294967296"; do
  # shellcheck disable=SC2086
  set -- $case
  small=$(peak "$1" "$2")
  large=$(peak "$1" "$3")
  echo "$1: peak memory $small bytes at $2 (64 MB), $large bytes at $3 (8.6 GB)"
  [ "$large" -le $((small + limit)) ] || failed=1
done
rm -rf "$work"
[ "$failed" -eq 0 ] || { echo "memory grew with the tensor" >&2; exit 1; }
