"""Records what transformers computes for each kind of rotary scaling.

    python3 -m venv v && v/bin/pip install torch transformers==5.24.0
    v/bin/python tests/oracles/rope_frequencies.py \
        > intarsia/ops/rope/rope_frequencies.inc

A line a case: the field of transformers' configuration, ours, channels of a
head, the length of the sequence, the factor of cosine and sine, and the angles
a position of all pairs. intarsia/ops/rope/rope_test.cc recomputes them.
"""

import json

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SHORT = [1.0, 1.05, 1.125, 1.3, 1.5, 2.25, 3.0, 4.5]
LONG = [1.0, 1.25, 1.75, 3.0, 7.5, 15.0, 31.0, 64.0]


def longrope(**more):
    ours = {k: v for k, v in more.items() if k != "factor"}
    return (
        {"original_max_position_embeddings": 64, "short_factor": SHORT,
         "long_factor": LONG, **more},
        {"original_max_positions": 64, "short_factor": SHORT,
         "long_factor": LONG, "factor": more.get("factor", 32.0), **ours})


def yarn(factor=4.0, original=64, **more):
    return (
        {"factor": factor, "original_max_position_embeddings": original,
         **more},
        {"factor": factor, "original_max_positions": original, **more})


# type, (theirs, ours), theta, length
CASES = [
    ("default", ({}, {}), 10000.0, 0),
    ("default", ({}, {}), 500000.0, 0),
    ("linear", ({"factor": 4.0}, {"factor": 4.0}), 10000.0, 0),
    ("linear", ({"factor": 0.75}, {"factor": 0.75}), 10000.0, 0),
    ("dynamic", ({"factor": 4.0}, {"factor": 4.0}), 10000.0, 2048),
    ("dynamic", ({"factor": 4.0}, {"factor": 4.0}), 10000.0, 2049),
    ("dynamic", ({"factor": 2.5}, {"factor": 2.5}), 500000.0, 5000),
    ("llama3", ({**LLAMA3, "original_max_position_embeddings": 64},
                {**LLAMA3, "original_max_positions": 64}), 10000.0, 0),
    ("llama3", ({**LLAMA3, "factor": 32.0,
                 "original_max_position_embeddings": 8192},
                {**LLAMA3, "factor": 32.0, "original_max_positions": 8192}),
     500000.0, 0),
    ("yarn", yarn(), 10000.0, 0),
    ("yarn", yarn(factor=16.0, beta_fast=16.0, beta_slow=2.0), 1e6, 0),
    ("yarn", yarn(truncate=False), 10000.0, 0),
    ("yarn", yarn(attention_factor=0.75), 10000.0, 0),
    ("yarn", yarn(mscale=1.0, mscale_all_dim=0.8), 10000.0, 0),
    ("yarn", yarn(mscale=1.0), 10000.0, 0),
    ("yarn", yarn(mscale=1.0, mscale_all_dim=0.0), 10000.0, 0),
    ("yarn", yarn(factor=0.5), 10000.0, 0),
    ("yarn", yarn(original=2), 10000.0, 0),
    ("longrope", longrope(), 10000.0, 64),
    ("longrope", longrope(), 10000.0, 65),
    ("longrope", longrope(factor=8.0), 10000.0, 65),
    ("longrope", longrope(attention_factor=1.0), 10000.0, 65),
    ("proportional", ({"partial_rotary_factor": 0.5}, {"proportion": 0.5}),
     10000.0, 0),
    ("proportional", ({"partial_rotary_factor": 0.3, "factor": 2.0},
                      {"proportion": 0.3, "factor": 2.0}), 10000.0, 0),
]


def record(kind, theirs, theta, length):
    config = LlamaConfig(
        hidden_size=32, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, vocab_size=8, max_position_embeddings=2048,
        rope_parameters={"rope_type": kind, "rope_theta": theta, **theirs})
    rotary = LlamaForCausalLM(config).model.rotary_emb
    if length:
        rotary(torch.zeros(1, 1, 8), torch.arange(length)[None])
    return float(rotary.attention_scaling), rotary.inv_freq.tolist()


def main():
    transformers.logging.set_verbosity_error()
    print("// transformers", transformers.__version__, "on CPU; made by "
          "tests/oracles/rope_frequencies.py.")
    for kind, (theirs, ours), theta, length in CASES:
        scale, frequencies = record(kind, theirs, theta, length)
        rope = {"theta": theta}
        if kind != "default":
            rope["scaling"] = {"type": kind, **ours}
        if kind == "dynamic":
            rope["scaling"]["original_max_positions"] = 2048
        values = ", ".join(f"{f:.9g}" + ("f" if "." in f"{f:.9g}" or
                                          "e" in f"{f:.9g}" else ".0f")
                           for f in frequencies)
        print(f'{{R"({json.dumps(rope)})", 16, {length}, {scale!r},\n'
              f" {{{values}}}}},")


main()
