#!/usr/bin/env bash
# What `make test` does: formatting and arrows, every test, the sanitizer
# subsets, a build with the other compiler, and, where nvcc is, a compile check
# of the GPU code. Ends with one line "N passed, M failed", which counts test
# cases, and each check that has no cases as one.
#
#   INTARSIA_LONG=1   tests labelled long too, fuzzers for ten minutes each
#   JOBS=n            compilers at a time (default: all processors)
#   STEPS="lint dev"  only these of: lint dev emu128 asan tsan cuda fuzz
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
jobs=${JOBS:-$(nproc)}
# What ccache keeps serves clones in other folders too.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true
long=${INTARSIA_LONG:-}
results=build/test-results
passed=0 failed=0 failures=()

has() { command -v "$1" >/dev/null; }
wanted() { [[ " ${STEPS:-lint dev emu128 asan tsan cuda fuzz} " == *" $1 "* ]]; }

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

# suite PRESET [CTEST ARGUMENT...]: runs the tests; each GoogleTest case counts.
suite() {
  local preset=$1 start=$SECONDS counts
  shift
  rm -rf "${results:?}/$preset"
  mkdir -p "$results/$preset"
  echo "== $preset: tests"
  GTEST_OUTPUT="json:$PWD/$results/$preset/" GTEST_BRIEF=1 \
    ctest --test-dir "build/$preset" --output-on-failure --no-tests=error \
    --output-junit "$PWD/$results/$preset/ctest.xml" -j "$jobs" "$@" ||
    failures+=("$preset tests")
  counts=$(python3 tools/count_tests.py "$results/$preset") || counts="0 1"
  passed=$((passed + ${counts% *}))
  failed=$((failed + ${counts#* }))
  echo "== $preset: ${counts% *} passed, ${counts#* } failed," \
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
configure_and_build() {  # PRESET LABEL [CMAKE ARGUMENT...]
  local preset=$1 label=$2 targets=()
  shift 2
  configure "$preset" "$@" || return 1
  if [[ -n $label ]]; then
    # The tests of this label alone, and what they need.
    mapfile -t targets < <(ctest --test-dir "build/$preset" -N -L "^$label\$" |
      sed -n 's/^ *Test *#[0-9]*: //p')
    [[ ${#targets[@]} -gt 0 ]] || return 1
  fi
  build "$preset" "${targets[@]}"
}

exclude_long=(-LE '^long$')
[[ -n $long ]] && exclude_long=()
mkdir -p build

if wanted lint; then
  check "lint" tools/lint.sh
fi

if wanted dev; then
  check "build dev (g++)" configure_and_build dev "" && suite dev \
    "${exclude_long[@]}"
fi

# The kernels as any processor runs them.
if wanted emu128; then
  if has clang++; then
    check "build emu128 (clang++)" configure_and_build emu128 emu128 &&
      suite emu128 -L '^emu128$' "${exclude_long[@]}"
  else
    echo "clang++ is not here: the portable kernels are not tested."
    [[ -n ${CI:-} ]] && check "clang++ is installed" false
  fi
fi

# The sanitized build is also the one with the other compiler.
if wanted asan; then
  if has clang++; then
    check "build asan (clang++)" configure_and_build asan asan \
      -DCMAKE_CXX_COMPILER=clang++ && suite asan -L '^asan$' \
      "${exclude_long[@]}"
    check "build intarsia (clang++)" build asan intarsia
  else
    echo "clang++ is not here: the sanitizers run with g++."
    [[ -n ${CI:-} ]] && check "clang++ is installed" false
    check "build asan (g++)" configure_and_build asan asan && suite asan \
      -L '^asan$' "${exclude_long[@]}"
  fi
fi

if wanted tsan; then
  check "build tsan (g++)" configure_and_build tsan tsan && suite tsan \
    -L '^tsan$' "${exclude_long[@]}"
fi

# The program with all Hopper kernels, without optimising the CPU part, and what
# can be tested of their benchmarks here; running them needs `make test-gpu`.
cuda_check() {
  configure cuda -B build/cuda-check -DINTARSIA_SIMD=avx2 -DINTARSIA_TESTS=ON \
    -DCMAKE_CXX_FLAGS_RELEASE=-O0 && build cuda-check cuda_check
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
for name in "${failures[@]+"${failures[@]}"}"; do echo "failed: $name"; done
echo "$((SECONDS / 60)) min $((SECONDS % 60)) s"
echo "$passed passed, $failed failed"
[[ $failed -eq 0 && ${#failures[@]} -eq 0 ]]
