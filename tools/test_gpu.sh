#!/usr/bin/env bash
# What `make test-gpu` does on a machine with a Hopper GPU: builds the cuda
# preset, runs the conformance suite there in f32 and bf16, recomputes golden
# models and their gradients on the GPU and lets a model answer there.
# BINARY=path uses a program that was built elsewhere, with its tests beside it;
# MODEL=path a model that need not be fetched.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
if ! command -v nvidia-smi >/dev/null || ! nvidia-smi -L | grep -q GPU; then
  echo "error: no NVIDIA GPU here (nvidia-smi finds none); run this on a" \
    "machine with an H100 or H200" >&2
  exit 1
fi
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader

binary=${BINARY:-build/cuda/intarsia}
if [[ -z ${BINARY:-} ]]; then
  export PATH=$PATH:/usr/local/cuda/bin
  if ! command -v nvcc >/dev/null; then
    echo "error: nvcc is not here; install CUDA 13, or give BINARY=path" >&2
    exit 1
  fi
  cmake --preset cuda -DINTARSIA_TESTS=ON >/dev/null &&
    cmake --build --preset cuda --target intarsia conformance_test \
      gpu_cases_test decode_graph_test -- -j"${JOBS:-$(nproc)}" ||
    exit 1
fi
test_of() { find "$(dirname "$binary")" -name "$1" -type f -executable; }

passed=0 failed=0
check() {
  echo "== $*"
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "== FAILED"
  fi
}
check env GTEST_BRIEF=1 "$(test_of gpu_cases_test)"
check env GTEST_BRIEF=1 "$(test_of decode_graph_test)"
# In as many parts as there are processors.
in_parts() {
  local parts i status=0
  parts=$(nproc)
  local ids=()
  for ((i = 0; i < parts; ++i)); do
    GTEST_BRIEF=1 GTEST_TOTAL_SHARDS=$parts GTEST_SHARD_INDEX=$i "$@" &
    ids+=($!)
  done
  for i in "${ids[@]}"; do wait "$i" || status=1; done
  return $status
}
check in_parts "$(test_of conformance_test)"
# transformers in bf16 is 0.03 to 0.095 deviations off the same logits.
for model in llama llama3_rope qwen3 gpt2 mamba2; do
  check "$binary" verify "tests/golden/$model" --device cuda --dtype bf16 \
    --tol 9e-2
done
for model in llama gpt2 mamba2 retnet; do
  if [[ -e tests/golden/$model/grads.safetensors ]]; then
    check "$binary" verify "tests/golden/$model" --device cuda --gradients
  fi
done
for model in llama llama3_rope qwen3 gpt2 retnet mixtral mamba2; do
  check "$binary" verify "tests/golden/$model" --device cuda
  check "$binary" verify "tests/golden/$model" --device cuda --form recurrent
  check "$binary" verify "tests/golden/$model" --device cuda --chunk 1,7,64
  check "$binary" verify "tests/golden/$model" --device cuda --batch-split
done
model=${MODEL:-smollm2-135m}
if [[ -e $model ]] || "$binary" pull "$model" >/dev/null; then
  check "$binary" generate "$model" --device cuda --chat --temperature 0 \
    --prompt "Why is the sky blue?" --max-tokens 64
else
  failed=$((failed + 1))
  echo "error: no model to answer with; give MODEL=file.gguf" >&2
fi
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
