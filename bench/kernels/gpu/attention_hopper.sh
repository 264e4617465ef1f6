#!/usr/bin/env bash
# On a machine with a Hopper GPU: checks and times the attention kernels, ours
# and PyTorch's in one process, then looks for memory errors on small shapes.
# usage: attention_hopper.sh BUILD_FOLDER OUTPUT_FOLDER [PROGRAM]
# BUILD_FOLDER has PROGRAM (bench_gpu_kernels) and libintarsia_kernels_c.so.
set -u
build=$1 output=$2 program=${3:-bench_gpu_kernels}
families="attention_forward attention_backward"
status=0
run() {  # seconds, log name, command...: a log a step
  local limit=$1 log=$output/$2.log
  shift 2
  timeout "$limit" "$@" >"$log" 2>&1
  local rc=$?
  [ $rc -eq 0 ] || status=1
  echo "== $* (exit $rc, log $(basename "$log"))"
}

run 100 check "$build/$program" $families --check-only \
  --output "$output/results.jsonl"
grep FAIL "$output/check.log" | head -20
tail -n 1 "$output/check.log"
run 100 time "$build/$program" $families --time-only \
  --output "$output/results.jsonl" --budget 80
for pass in "" --backward; do
  run 100 "peers$pass" python3 bench/peers/torch_sdpa.py $pass \
    --library "$build/libintarsia_kernels_c.so" \
    --output "$output/results.jsonl"
  cat "$output/peers$pass.log"
done
for tool in memcheck racecheck synccheck; do
  run 40 "$tool" compute-sanitizer --tool $tool "$build/$program" $families \
    --check-only --quick
  tail -n 1 "$output/$tool.log"
done
exit $status
