"""Lists the fields that transformers' configuration classes declare.

    pip install torch transformers==5.24.0
    python3 tests/oracles/declared_fields.py > tests/golden/declared_fields.json

Each with its default; null where that is infinite or a type. load_test
asks that our families read each of them or know at which value it changes
nothing.
"""

import dataclasses
import json

import transformers
from transformers import CONFIG_MAPPING

FAMILIES = ["llama", "mistral", "ministral", "qwen2", "qwen3", "mixtral",
            "gpt2", "mamba2", "olmo2", "gemma2", "phi", "falcon", "falcon_h1",
            "granitemoehybrid", "zamba2"]
# Taken from what a file has besides, by every class.
TAKEN = {"torch_dtype": None, "num_labels": 2, "output_attentions": False,
         "attn_implementation": None, "experts_implementation": None,
         "name_or_path": "", "per_layer_config": None,
         "tie_last_hidden_states": None}


def plain(value):
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return None


def main():
    out = {}
    for family in FAMILIES:
        fields = dict(TAKEN)
        for field in dataclasses.fields(CONFIG_MAPPING[family]):
            default = field.default
            missing = default is dataclasses.MISSING
            fields[field.name] = None if missing else plain(default)
        out[family] = dict(sorted(fields.items()))
    lines = [json.dumps(name) + ": " + json.dumps(fields)
             for name, fields in out.items()]
    print('{"transformers": "%s",\n"fields": {\n%s}}'
          % (transformers.__version__, ",\n".join(lines)))


if __name__ == "__main__":
    main()
