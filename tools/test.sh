#!/usr/bin/env bash
# What `make test` does: formatting and arrows, then three lanes of tests, and,
# where nvcc is, a compile check of the GPU code:
#
#   unit   clang -O1, AddressSanitizer and UBSan, AVX2 and portable kernels:
#          what one folder promises
#   ship   g++ -O2: the program and the journeys through it
#   tsan   what shares data between threads
#
# Each test is in the lanes that its CMakeLists.txt says (intarsia_lanes in
# cmake/options.cmake). A test of more than 60 seconds fails unless it is
# labelled long. Ends with the slowest files and tests and one line "N passed, M
# failed", which counts test cases, and each check that has no cases as one.
#
#   INTARSIA_LONG=1   tests labelled long too, fuzzers for ten minutes each
#   JOBS=n            compilers at a time (default: all processors)
#   STEPS="lint unit" only these of: lint unit ship tsan cuda fuzz
#   SLOW=n            seconds that a test may take (default 60)
#   --since REV       of unit and tsan only the tests that depend on files that
#                     differ from REV; needs builds that were made before
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
since=
if [[ ${1:-} == --since ]]; then
  since=$(git rev-parse --verify "${2:?--since wants a revision}^{commit}") ||
    exit 2
fi
jobs=${JOBS:-$(nproc)}
# What ccache keeps serves clones in other folders too.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true
long=${INTARSIA_LONG:-}
passed=0 failed=0 failures=() lanes=()

has() { command -v "$1" >/dev/null; }
wanted() { [[ " ${STEPS:-lint unit ship tsan cuda fuzz} " == *" $1 "* ]]; }

# check NAME COMMAND...: one case.
check() {
  local name=$1 start=$SECONDS
  shift
  echo "== $name"
  if "$@"; then
    passed=$((passed + 1))
    echo "== $name: ok, $((SECONDS - start)) s"
  else
    failed=$((failed + 1))
    failures+=("$name")
    echo "== $name: FAILED, $((SECONDS - start)) s"
    return 1
  fi
}

# suite PRESET LANE: runs the tests; each GoogleTest case counts.
suite() {
  local preset=$1 lane=$2 start=$SECONDS counts results=build/$1/results
  local regex some=() long_too=(-LE '^long$')
  [[ -n $long ]] && long_too=()
  if [[ -n $since && $lane != ship ]]; then
    regex=$(python3 tools/affected.py "build/$preset" "$lane" "$since") ||
      regex=.
    if [[ -z $regex ]]; then
      echo "== $lane: nothing depends on what changed"
      return
    fi
    some=(-R "$regex")
  fi
  rm -rf "${results:?}"
  mkdir -p "$results"
  echo "== $lane: tests"
  GTEST_BRIEF=1 ctest --test-dir "build/$preset" --output-on-failure \
    --no-tests=error --output-junit "$PWD/$results/ctest.xml" -j "$jobs" \
    -L "^$lane\$" "${long_too[@]}" "${some[@]}" || failures+=("$lane tests")
  lanes+=("build/$preset")
  counts=$(python3 tools/count_tests.py "$results") || counts="0 1"
  passed=$((passed + ${counts% *}))
  failed=$((failed + ${counts#* }))
  echo "== $lane: ${counts% *} passed, ${counts#* } failed," \
    "$((SECONDS - start)) s"
}

configure() {  # PRESET [CMAKE ARGUMENT...]
  cmake --preset "$@" >"build/configure.log" 2>&1 || {
    cat build/configure.log
    return 1
  }
}
# A failed build shows the compiler's words; a good one only its last line.
build() {  # PRESET TARGET...
  local preset=$1
  shift
  ninja -C "build/$preset" -j "$jobs" "$@" >"build/$preset/build.log" 2>&1 || {
    grep -v '^\[' "build/$preset/build.log" | tail -n 60
    return 1
  }
  tail -n 1 "build/$preset/build.log"
}
# lane NAME PRESET WORDS TARGETS [CMAKE ARGUMENT...]: builds and runs one.
lane() {
  local lane=$1 preset=$2 words=$3
  local targets=("lane_$lane") arguments=("${@:5}")
  [[ -n $4 ]] && targets+=("$4")
  check "build $lane ($words)" configure_and_build && suite "$preset" "$lane"
}
configure_and_build() {
  configure "$preset" "${arguments[@]}" && build "$preset" "${targets[@]}"
}

mkdir -p build
if wanted lint; then
  check "lint" tools/lint.sh
fi

# The lane of the other compiler, which builds the program too.
if wanted unit; then
  if has clang++; then
    lane unit unit "clang++" intarsia
  else
    echo "clang++ is not here: no portable kernels, and the sanitizers of g++."
    [[ -n ${CI:-} ]] && check "clang++ is installed" false
    lane unit unit "g++" "" -DCMAKE_CXX_COMPILER=g++ -DINTARSIA_SIMD=avx2
  fi
fi
if wanted ship; then
  lane ship dev "g++" intarsia
fi
if wanted tsan; then
  lane tsan tsan "g++" ""
fi

# The program with all Hopper kernels, and what can be tested of their benchmarks
# here; running them needs `make test-gpu`. With the flags of the lane ship, so
# that ccache has what doesn't differ.
cuda_check() {
  configure cuda -B build/cuda-check -DINTARSIA_SIMD=avx2 -DINTARSIA_TESTS=ON \
    -DCMAKE_CXX_FLAGS_RELEASE="-O2 -g1" && build cuda-check cuda_check
}
if wanted cuda; then
  export PATH=$PATH:/usr/local/cuda/bin
  if has nvcc; then
    check "build cuda (nvcc)" cuda_check
  else
    echo "nvcc is not here: the GPU code is not compiled."
  fi
fi

# Ten minutes each, on the corpora of the tree and what grows from them.
fuzz_all() {
  local fuzzer name corpus bad=0
  configure fuzz && build fuzz fuzzers || return 1
  while read -r fuzzer; do
    name=$(basename "$fuzzer" _fuzz)
    corpus=build/fuzz/corpus/$name
    python3 tools/fuzz_corpus.py unpack \
      "$(find intarsia -type d -path "*/corpus/$name")" "$corpus" || return 1
    "$fuzzer" -max_total_time=600 -max_len=1024 -timeout=5 -rss_limit_mb=1024 \
      -malloc_limit_mb=512 -artifact_prefix=build/fuzz/ "$corpus" || bad=1
  done < <(find build/fuzz -type f -name '*_fuzz' -executable)
  return $bad
}
if [[ -n $long ]] && wanted fuzz; then
  check "fuzzers" fuzz_all
fi

echo
if [[ ${#lanes[@]} -gt 0 ]]; then
  python3 tools/slowest.py "${SLOW:-60}" "${lanes[@]}" ||
    failures+=("a test is too slow")
fi
for name in "${failures[@]+"${failures[@]}"}"; do echo "failed: $name"; done
echo "$((SECONDS / 60)) min $((SECONDS % 60)) s"
echo "$passed passed, $failed failed"
[[ $failed -eq 0 && ${#failures[@]} -eq 0 ]]
