#!/usr/bin/env bash
# Lines of each reader of untrusted files that the tests and the fuzzers'
# corpora run. Fails where a reader has fewer than 90 % (LEAST). Needs clang and
# llvm-cov of the same version.
#
#   BUILD=folder   where to build (default build/coverage)
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build/coverage}
least=${LEAST:-90}
jobs=${JOBS:-$(nproc)}
tests=(core_test json_reader_test checkpoint_test bad_files_test
  checkpoint_fuzz_replay_test tokenizer_test chat_template_test
  chat_messages_test tokenizer_fuzz_replay_test index_test pull_test
  archive_fuzz_replay_test hub_parsers_test hub_pull_test
  hub_client_fuzz_replay_test fp8_blocks_test load_test
  families_fuzz_replay_test model_test state_test engine_fuzz_replay_test
  perplexity_test eval_fuzz_replay_test convert_quantize_test convert_test
  convert_fuzz_replay_test)
# What reads files, without what only writes them or computes.
readers=(intarsia/checkpoint/{json_input,checked,gguf_reader,gguf,safetensors,checkpoint,encoding,block_storage,mapped_file}.cc
  intarsia/hub/*.cc intarsia/core/json_reader.cc
  intarsia/families/*.cc intarsia/model/config.cc
  intarsia/engine/session_file.cc intarsia/eval/recorded_logits.cc
  intarsia/convert/imatrix.cc
  intarsia/tokenizer/*.cc intarsia/tokenizer/chat_template/*.cc)

cmake -B "$build" --preset coverage ${CMAKE_ARGUMENTS:-} >/dev/null
ninja -C "$build" -j "$jobs" "${tests[@]}" | tail -n 1
mkdir -p "$build/profiles"
rm -f "$build"/profiles/*
binaries=()
for test in "${tests[@]}"; do
  program=$(find "$build" -type f -executable -name "$test")
  LLVM_PROFILE_FILE="$PWD/$build/profiles/$test.profraw" GTEST_BRIEF=1 \
    "$program" >"$build/profiles/$test.log" || {
    cat "$build/profiles/$test.log"
    exit 1
  }
  binaries+=(-object "$program")
done
llvm-profdata merge -o "$build/all.profdata" "$build"/profiles/*.profraw
sources=()
for file in "${readers[@]}"; do
  case $file in
    *_test.cc | *_fuzz.cc) ;;
    # Its table is made at compile time; the rest of it is all run.
    intarsia/tokenizer/byte_level.cc) ;;
    *) sources+=("$file") ;;
  esac
done
llvm-cov export -summary-only -instr-profile "$build/all.profdata" \
  "${binaries[@]:1}" |
  python3 tools/coverage_table.py "$PWD" "$least" "${sources[@]}"
