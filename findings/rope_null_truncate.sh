#!/usr/bin/env bash
# transformers 5.24.0: in YaRN's settings a null counts as an absent field, but
# for one. "truncate": null is false, although the default is true: the pairs at
# the ends of the ramp turn at other speeds. And rotary settings given by layer
# type are passed over without a word by a model class without layer types
# (Llama), down to the base inside them.
#
# Seen: frequency of pair 1 with truncate absent 0.197642, true 0.197642, null
# 0.148490, false 0.148490; with beta_fast null as absent. A Llama whose
# settings are {"full_attention": {..., "rope_theta": 500000.0}} has base 10000.
# Exits 1 when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q --index-url https://download.pytorch.org/whl/cpu \
  torch 2> /dev/null || "$folder/v/bin/pip" install -q torch
"$folder/v/bin/pip" install -q transformers==5.24.0
"$folder/v/bin/python" - << 'EOF'
import sys
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

transformers.logging.set_verbosity_error()
YARN = {"rope_type": "yarn", "factor": 4.0,
        "original_max_position_embeddings": 32}


def rotary(parameters):
    config = LlamaConfig.from_dict({
        "hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 4, "vocab_size": 8,
        "max_position_embeddings": 128, "rope_parameters": parameters})
    return LlamaForCausalLM(config).model.rotary_emb.inv_freq.tolist()


def pair(**more):
    return round(rotary({**YARN, **more})[1], 6)


seen = {"absent": pair(), "true": pair(truncate=True),
        "null": pair(truncate=None), "false": pair(truncate=False),
        "beta_fast null": pair(beta_fast=None)}
nested = rotary({"full_attention": {"rope_type": "default",
                                    "rope_theta": 500000.0}})
print("transformers", transformers.__version__, seen,
      "second frequency by layer type", round(nested[1], 6))
right = (seen["absent"] == seen["true"] == seen["beta_fast null"]
         and seen["null"] == seen["false"] != seen["true"]
         and abs(nested[1] - 10000.0 ** (-1 / 8)) < 1e-6)
sys.exit(0 if right else 1)
EOF
