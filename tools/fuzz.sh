#!/bin/sh
# Builds the fuzz targets and runs each on a copy of its corpus; fails on the first finding and keeps its input.
# usage: tools/fuzz.sh [SECONDS [TARGET...]]   (20 seconds; every target)
# OCTAVO_FUZZ_BUILD names the build folder (build/fuzz).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
seconds=${1:-20}
[ $# -gt 0 ] && shift
build=${OCTAVO_FUZZ_BUILD:-$root/build/fuzz}

cmake -S "$root" --preset fuzz -B "$build" > /dev/null
cmake --build "$build" --target fuzzers
if [ $# -eq 0 ]; then
  set -- $(cd "$root/fuzz" && ls -- *_fuzz.cc | sed 's/_fuzz\.cc$//')
fi
findings=$build/findings
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$findings"

for target in "$@"; do
  mkdir "$scratch/$target"
  if [ -d "$root/fuzz/corpus/$target" ]; then
    find "$root/fuzz/corpus/$target" -type f -exec cp {} "$scratch/$target/" \;
  fi
  status=0
  # An input that takes 10 s, allocates 256 MiB at once or grows the process beyond 2 GiB is a finding as well.
  "$build/fuzz_$target" -max_total_time="$seconds" -timeout=10 -malloc_limit_mb=256 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$findings/$target-" "$scratch/$target" > "$scratch/$target.log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    tail -n 60 "$scratch/$target.log"
    echo "fuzz: $target: a finding; its input is in $findings" >&2
    exit 1
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/$target.log")
  rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$scratch/$target.log")
  printf '%-20s %10s executions, %7s a second, no finding\n' "$target" "$runs" "$rate"
done
