#!/usr/bin/env bash
# transformers 5.24.0: which model a config.json with "model_type": "mistral" is
# depends on a field that Mistral does not have.
#
# With "layer_types" in the file, even as null, AutoConfig makes a Ministral of
# it, whose layers see a window only where the list says so. The class that the
# file's own model_type names, MistralConfig, reads the same file too, and its
# model puts the window on every layer. So the two documented ways to open one
# folder compute different logits, without an error from either.
#
# Seen: AutoConfig gives "ministral" with and without values in the list;
# MistralConfig stays "mistral" and keeps the list as a field that its modelling
# code never reads.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q transformers==5.24.0
cat > "$folder/check.py" <<'PYTHON'
import importlib.util
import json
import pathlib
import sys

import transformers
from transformers import AutoConfig, MistralConfig

config = {"model_type": "mistral", "architectures": ["MistralForCausalLM"],
          "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
          "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
          "vocab_size": 20, "sliding_window": 4}
types = ["full_attention", "sliding_attention"]


def read(extra):
    folder = pathlib.Path(sys.argv[1])
    (folder / "config.json").write_text(json.dumps({**config, **extra}))
    return (AutoConfig.from_pretrained(folder),
            MistralConfig.from_pretrained(folder))


seen = {}
for name, extra in {"without": {}, "null": {"layer_types": None},
                    "list": {"layer_types": types}}.items():
    auto, own = read(extra)
    seen[name] = (auto.model_type, own.model_type)
    print(f"layer_types {name}: AutoConfig {auto.model_type}, "
          f"MistralConfig {own.model_type}")
root = pathlib.Path(importlib.util.find_spec("transformers").origin).parent
code = (root / "models/mistral/modeling_mistral.py").read_text()
print("transformers", transformers.__version__,
      "- modeling_mistral reads layer_types:", "layer_types" in code)
ok = (transformers.__version__ == "5.24.0"
      and seen == {"without": ("mistral", "mistral"),
                   "null": ("ministral", "mistral"),
                   "list": ("ministral", "mistral")}
      and "layer_types" not in code)
sys.exit(0 if ok else 1)
PYTHON
mkdir "$folder/m"
"$folder/v/bin/python" "$folder/check.py" "$folder/m" 2> "$folder/errors" ||
  { cat "$folder/errors"; echo "behaviour changed"; exit 1; }
