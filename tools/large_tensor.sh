#!/bin/sh
# Proves that --memory holds whatever the tensor: one linear of 8.6 GB, as many rows and as one giant row. Needs 13 GB of disk
# in build/; prints peak memory and fails beyond 64 MiB and 1 KiB.
set -eu
cd "$(dirname "$0")/.."
octavo=build/release/octavo
work=build/large
limit=$((64 * 1024 * 1024 + 1024))

peak() {  # scheme shape -> bytes
  rm -rf "$work"
  build/release/make_checkpoint --out "$work/source" --giant "$2"
  "$octavo" quantize "$work/source" -o "$work/fp8" --scheme "$1" --memory 64MiB --quiet --json-file "$work/summary.json"
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["peak_memory_bytes"])' "$work/summary.json"
}

failed=0
for case in "dynamic 524288x8192" "block 524288x8192" "tensor 524288x8192" "dynamic 1x4294967296"; do
  # shellcheck disable=SC2086
  set -- $case
  bytes=$(peak "$1" "$2")
  echo "$1: peak memory $bytes bytes at $2 (8.6 GB)"
  [ "$bytes" -le "$limit" ] || failed=1
done
rm -rf "$work"
[ "$failed" -eq 0 ] || { echo "more memory than --memory allows" >&2; exit 1; }
