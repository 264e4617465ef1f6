"""Records what transformers computes of one model under many rotary settings.

    python3 -m venv v && v/bin/pip install torch safetensors transformers==5.24.0
    v/bin/python tests/oracles/rope_models.py tests/golden/rope

Writes model.safetensors, the weights of all; configs.json, the configuration
of each; and recorded.safetensors: input_ids, "logits.NAME" of the whole pass,
and "greedy.NAME" with "margins.NAME" of those that are also decoded past the
original length. Settings with the same logits are recorded once, as "same" in
configs.json. "rope_freqs" is what llama.cpp's converter computes for "llama3".
"""

import json
import math
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

LENGTH = 40
PROMPT, STEPS = 24, 16
BASE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama",
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "vocab_size": 16, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
    "dtype": "bfloat16",
}
SHORT = [1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0]
LONG = [1.0, 1.5, 2.25, 4.0, 8.0, 16.0, 32.0, 64.0]
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
YARN = {"rope_type": "yarn", "factor": 8.0,
        "original_max_position_embeddings": 32}
LONGROPE = {"rope_type": "longrope", "short_factor": SHORT,
            "long_factor": LONG, "original_max_position_embeddings": 32}


def scaling(base, *without, **more):
    kept = {k: v for k, v in base.items() if k not in without}
    return {"rope_scaling": {**kept, **more}, "rope_theta": 1000.0}


VARIANTS = {
    "plain": {},
    "theta": {"rope_theta": 1000.0},
    "parameters": {"rope_parameters": {"rope_type": "default",
                                       "rope_theta": 1000.0}},
    "parameters_before_top": {"rope_parameters": {"rope_theta": 1000.0},
                              "rope_theta": 77.0},
    "parameters_without_theta": {"rope_parameters": {"rope_type": "default"},
                                 "rope_theta": 1000.0},
    "scaling_with_theta": {"rope_scaling": {"rope_type": "default",
                                            "rope_theta": 1000.0},
                           "rope_theta": 77.0},
    "both_fields": {"rope_scaling": {"type": "linear", "factor": 2.0},
                    "rope_parameters": {"rope_type": "default",
                                        "rope_theta": 1000.0}},
    "both_fields_top": {"rope_scaling": {"type": "linear", "factor": 2.0},
                        "rope_parameters": {"rope_theta": 77.0},
                        "rope_theta": 1000.0},
    "empty_scaling": {"rope_scaling": {},
                      "rope_parameters": {"rope_theta": 1000.0}},
    "null_scaling": {"rope_scaling": None, "rope_theta": 1000.0},
    "partial_ignored": {"partial_rotary_factor": 0.5, "rope_theta": 1000.0},
    "two_types": scaling({"type": "linear", "rope_type": "default",
                          "factor": 2.0}),
    "linear": scaling({"type": "linear", "factor": 2.0}),
    "linear_extra": scaling({"type": "linear", "factor": 2.0,
                             "original_max_position_embeddings": 32,
                             "finetuned": True}),
    "linear_below_one": scaling({"type": "linear", "factor": 0.5}),
    "dynamic": {"max_position_embeddings": 32,
                **scaling({"type": "dynamic", "factor": 4.0,
                           "original_max_position_embeddings": 8})},
    "llama3": scaling(LLAMA3),
    "llama3_top_original": {"original_max_position_embeddings": 32,
                            **scaling(LLAMA3,
                                      original_max_position_embeddings=128)},
    "llama3_no_original": {"max_position_embeddings": 32,
                           **scaling(LLAMA3,
                                     "original_max_position_embeddings")},
    # Between the two there is nothing.
    "llama3_one_wavelength": scaling(LLAMA3, low_freq_factor=4.0),
    "llama3_factors_crossed": scaling(LLAMA3, low_freq_factor=4.0,
                                      high_freq_factor=1.0),
    "yarn": scaling(YARN),
    "yarn_no_original": {
        "max_position_embeddings": 32,
        **scaling(YARN, "original_max_position_embeddings")},
    "yarn_null_factor": scaling(YARN, factor=None),
    "yarn_nulls": scaling(YARN, beta_fast=None, beta_slow=None, mscale=None,
                          mscale_all_dim=None, attention_factor=None),
    "yarn_factor_is_no_ratio": scaling(YARN, factor=3.0),
    "yarn_top_original": {"original_max_position_embeddings": 16,
                          **scaling(YARN)},
    "yarn_extra": scaling(YARN, attn_factor=0.7, finetuned=True),
    "yarn_attention_factor": scaling(YARN, attention_factor=0.7),
    "yarn_attention_factor_zero": scaling(YARN, attention_factor=0.0),
    "yarn_betas": scaling(YARN, beta_fast=4, beta_slow=0.25),
    "yarn_mscale": scaling(YARN, mscale=1.0, mscale_all_dim=0.5),
    "yarn_mscale_one": scaling(YARN, mscale=2.0),
    "yarn_no_truncation": scaling(YARN, truncate=False),
    "yarn_null_truncation": scaling(YARN, truncate=None),
    "longrope": scaling(LONGROPE),
    "longrope_factor": scaling(LONGROPE, factor=4.0),
    "longrope_attention_factor": scaling(LONGROPE, attention_factor=1.0),
    "longrope_short": scaling(LONGROPE, original_max_position_embeddings=64),
    "longrope_no_original": scaling(LONGROPE,
                                    "original_max_position_embeddings"),
    "proportional": scaling({"rope_type": "proportional",
                             "partial_rotary_factor": 0.5}),
}
# Decoded past the original length, with the whole prefix each time, as
# Phi-3's generation is when it gets there; dynamic by the cached steps that
# Llama's generation takes.
DECODED = ["llama3", "yarn", "longrope", "dynamic"]


def rope_freqs(theta, dim):
    """Llama 3.1's scaling as divisors, by llama.cpp's converter's formula."""
    freqs = 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    low, high = LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"]
    length, factor = (LLAMA3["original_max_position_embeddings"],
                      LLAMA3["factor"])
    out = []
    for freq in freqs:
        wavelength = 2 * math.pi / freq
        if wavelength < length / high:
            out.append(1)
        elif wavelength > length / low:
            out.append(factor)
        else:
            blend = (length / wavelength - low) / (high - low)
            out.append(1 / ((1 - blend) / factor + blend))
    return torch.tensor(out, dtype=torch.float32)


def greedy(load, prompt, cached):
    ids, margins = prompt, []
    model, cache = load(), None
    for _ in range(STEPS):
        with torch.no_grad():
            if cached:
                out = model(ids if cache is None else ids[:, -1:],
                            past_key_values=cache, use_cache=True)
                cache = out.past_key_values
            else:
                out = load()(ids)
        top = out.logits[0, -1].topk(2)
        margins.append((top.values[0] - top.values[1]).item())
        ids = torch.cat([ids, top.indices[:1][None]], 1)
    return ids, torch.tensor(margins)


def main():
    transformers.logging.set_verbosity_error()
    folder = Path(sys.argv[1])
    torch.manual_seed(4)
    model = LlamaForCausalLM(LlamaConfig(**BASE))
    weights = {}
    for name, p in model.named_parameters():
        values = (torch.ones_like(p) + 0.1 * torch.randn_like(p)
                  if "norm" in name else 0.2 * torch.randn_like(p))
        weights[name] = values.detach().to(torch.bfloat16).contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    ids = torch.randint(3, BASE["vocab_size"], (1, LENGTH))
    recorded = {"input_ids": ids.to(torch.int32),
                "rope_freqs": rope_freqs(1000.0, BASE["head_dim"])}
    configs = {}
    for name, fields in VARIANTS.items():
        config = {**BASE, **fields}

        def load():
            with tempfile.TemporaryDirectory() as temp:
                Path(temp, "config.json").write_text(json.dumps(config))
                save_file(load_file(folder / "model.safetensors"),
                          Path(temp, "model.safetensors"), {"format": "pt"})
                return AutoModelForCausalLM.from_pretrained(
                    temp, dtype=torch.float32,
                    attn_implementation="eager").eval()

        with torch.no_grad():
            logits = load()(ids).logits
        configs[name] = {"config": config}
        for other in list(configs)[:-1]:
            if ("logits." + other in recorded and
                    torch.equal(recorded["logits." + other], logits)):
                configs[name]["same"] = other
                break
        else:
            recorded["logits." + name] = logits.contiguous()
            print(name, "differs from plain by",
                  (logits - recorded["logits.plain"]).abs().max().item(),
                  "of", logits.std().item())
        if name in DECODED:
            tokens, margins = greedy(load, ids[:, :PROMPT], name == "dynamic")
            recorded["greedy." + name] = tokens.to(torch.int32)
            recorded["margins." + name] = margins
            print(name, "margins", margins.min().item())
    save_file(recorded, folder / "recorded.safetensors",
              {"made_by": "transformers " + transformers.__version__})
    (folder / "configs.json").write_text(
        "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}"
                           for k, v in configs.items()) + "\n}\n")


main()
