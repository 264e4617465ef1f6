#!/usr/bin/env bash
# What `make run` does after the build: fetch a model, answer a prompt, say how
# to go on. Without a network a tiny model from the tests runs instead.
set -euo pipefail
binary=$1 model=$2 prompt=$3

if "$binary" pull "$model" >/dev/null; then
  echo "> $prompt"
  "$binary" generate "$model" --chat --prompt "$prompt" \
    --temperature 0 --max-tokens 128
  cat <<EOT

Go on with
  $binary chat $model          a conversation
  $binary bench $model         tokens per second on this machine
  $binary info $model          what the model is made of
  make run PROMPT="..."            another question
EOT
else
  echo "The model could not be fetched (see above), so a tiny model from the" >&2
  echo "tests runs instead: 0.4 M parameters, trained for two minutes; it babbles." >&2
  "$binary" generate tests/golden/tiny --prompt "$prompt" --temperature 0 \
    --max-tokens 64
  echo
  echo "With a network: make run. Your own model: $binary chat FOLDER-OR-GGUF"
fi
