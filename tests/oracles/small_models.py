"""Records what transformers computes for small models, for small_models_test.

    pip install torch transformers==5.24.0 safetensors
    python3 tests/oracles/small_models.py > tests/golden/small_models.json

Each case is a configuration as a file may have it, and the tensors of a file by
name and shape. The numbers of a tensor follow from its name, so that the test
makes the same file; a "same_as" names the tensor that it repeats. Recorded are
the logits of the last positions of one sequence, in fp32.
"""

import json
import os
import sys
import tempfile

import torch
import transformers
from safetensors.torch import save_file

TOKENS = 12
ROWS = 3  # recorded
MASK = (1 << 64) - 1


def fnv1a(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def splitmix64(x):
    z = (x + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def values(name, shape):
    """Multiples of 2^-9 in [-1/4, 1/4); about 1 for the weights of norms."""
    seed, count = fnv1a(name), 1
    for n in shape:
        count *= n
    numbers = [((splitmix64((seed + i) & MASK) >> 56) - 128) / 512
               for i in range(count)]
    if "norm" in name or "ln_" in name:
        if name.endswith("weight"):
            numbers = [1 + x for x in numbers]
    return torch.tensor(numbers, dtype=torch.float32).reshape(shape)


LLAMA = dict(model_type="llama", architectures=["LlamaForCausalLM"],
             hidden_size=16, intermediate_size=24, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, vocab_size=20,
             max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=1e4,
             tie_word_embeddings=False)
QWEN2 = {**LLAMA, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
QWEN3 = {**LLAMA, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"],
         "head_dim": 8}
MISTRAL = {**LLAMA, "model_type": "mistral",
           "architectures": ["MistralForCausalLM"]}
MIXTRAL = {**LLAMA, "model_type": "mixtral",
           "architectures": ["MixtralForCausalLM"], "num_local_experts": 3,
           "num_experts_per_tok": 2}
OLMO2 = {**LLAMA, "model_type": "olmo2",
         "architectures": ["Olmo2ForCausalLM"]}
GEMMA2 = {**LLAMA, "model_type": "gemma2",
          "architectures": ["Gemma2ForCausalLM"], "head_dim": 4,
          "query_pre_attn_scalar": 4, "sliding_window": 4,
          "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0,
          "tie_word_embeddings": True}
PHI = dict(model_type="phi", architectures=["PhiForCausalLM"], hidden_size=16,
           intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
           vocab_size=20, max_position_embeddings=64, layer_norm_eps=1e-5,
           partial_rotary_factor=0.5, hidden_act="gelu_new",
           tie_word_embeddings=False)
FALCON = dict(model_type="falcon", architectures=["FalconForCausalLM"],
              hidden_size=16, ffn_hidden_size=64, num_hidden_layers=2,
              num_attention_heads=4, vocab_size=20,
              max_position_embeddings=64, layer_norm_epsilon=1e-5,
              multi_query=True, parallel_attn=True,
              new_decoder_architecture=False, bias=False, alibi=False,
              bos_token_id=1, eos_token_id=2)
GPT2 = dict(model_type="gpt2", architectures=["GPT2LMHeadModel"], n_embd=16,
            n_head=4, n_inner=None, n_layer=2, n_positions=32, vocab_size=20,
            layer_norm_epsilon=1e-5, activation_function="gelu_new")
MAMBA2 = dict(model_type="mamba2", architectures=["Mamba2ForCausalLM"],
              hidden_size=16, num_heads=4, head_dim=8, expand=2, state_size=8,
              n_groups=2, num_hidden_layers=2, conv_kernel=4, vocab_size=20,
              chunk_size=8, tie_word_embeddings=False)


def without(config, *keys):
    return {k: v for k, v in config.items() if k not in keys}


def bare(base):
    return lambda name: name.removeprefix(base)


def fused_experts(shapes):
    """Each block's experts as two stacks, gate and up in one."""
    out, experts = {}, {}
    for name, shape in shapes.items():
        block, _, expert = name.partition("block_sparse_moe.experts.")
        if expert:
            experts.setdefault(block, {})[expert] = shape
        else:
            out[name.replace("block_sparse_moe.", "mlp.")] = shape
    for block, parts in experts.items():
        count = len(parts) // 3
        hidden, dim = parts["0.w1.weight"]
        out[block + "mlp.experts.gate_up_proj"] = [count, 2 * hidden, dim]
        out[block + "mlp.experts.down_proj"] = [count, dim, hidden]
    return out


# name: configuration, renaming of the names that the library saves (of one, or
# of all with their shapes), tensors that it has besides ({name: like}).
CASES = {
    "llama": (LLAMA,),
    "llama_bare": (LLAMA, bare("model.")),
    "llama_mixed_names": (
        LLAMA, lambda n: bare("model.")(n) if "layers.1" in n else n),
    "llama_head_under_the_base": (
        LLAMA, lambda n: "model." + n if n == "lm_head.weight" else n),
    "llama_biases": (
        {**LLAMA, "attention_bias": True, "mlp_bias": True},),
    "llama_ignores_windows": (
        {**LLAMA, "sliding_window": 3, "use_sliding_window": True},),
    "llama_quick_gelu": ({**LLAMA, "hidden_act": "quick_gelu"},),
    "llama_tied": ({**LLAMA, "tie_word_embeddings": True},),
    "llama_tied_bare_head_alone": (
        {**LLAMA, "tie_word_embeddings": True},
        lambda n: "lm_head.weight" if "embed_tokens" in n
        else bare("model.")(n)),
    "llama_tied_own_head": (
        {**LLAMA, "tie_word_embeddings": True}, None,
        {"lm_head.weight": "model.embed_tokens.weight"}),
    "llama_leftovers": (
        LLAMA, None, {"model.layers.0.self_attn.rotary_emb.inv_freq": [2],
                      "model.layers.1.self_attn.rotary_emb.inv_freq": [2]}),
    "mistral": (without(MISTRAL, "num_key_value_heads") | {
        "num_attention_heads": 8},),
    "mistral_window": ({**MISTRAL, "sliding_window": 4},),
    "mistral_null_window": ({**MISTRAL, "sliding_window": None},),
    # AutoConfig makes a Ministral of it, which needs a "head_dim".
    "mistral_layer_types": (
        {**MISTRAL, "sliding_window": 4, "head_dim": 4,
         "layer_types": ["full_attention", "sliding_attention"]},),
    "mistral_null_layer_types": (
        {**MISTRAL, "sliding_window": 4, "head_dim": 4,
         "layer_types": None},),
    "mixtral": (MIXTRAL,),
    "mixtral_window": ({**MIXTRAL, "sliding_window": 4},),
    "mixtral_experts_of_mlp": (
        without(MIXTRAL, "rms_norm_eps"),
        lambda n: n.replace("block_sparse_moe.", "mlp.")),
    # The names of transformers 5 in memory, which other tools write.
    "mixtral_fused_experts": (MIXTRAL, fused_experts),
    "mixtral_other_names_of_fields": (
        without(MIXTRAL, "num_local_experts") | {"num_experts": 3},),
    "qwen2_bare_tied": (
        {**QWEN2, "tie_word_embeddings": True}, bare("model.")),
    "qwen2_window_from_1": (
        {**QWEN2, "use_sliding_window": True, "sliding_window": 3,
         "max_window_layers": 1},),
    "qwen2_window_from_28": (
        {**QWEN2, "use_sliding_window": True, "sliding_window": 3},),
    "qwen2_window_from_below_0": (
        {**QWEN2, "use_sliding_window": True, "sliding_window": 3,
         "max_window_layers": -1},),
    "qwen2_layer_types": (
        {**QWEN2, "use_sliding_window": True, "sliding_window": 3,
         "max_window_layers": 2,
         "layer_types": ["sliding_attention", "full_attention"]},),
    "qwen2_attention": (
        {**QWEN2, "layer_types": ["attention", "full_attention"]},),
    "qwen2_window_unused": (
        {**QWEN2, "use_sliding_window": False, "sliding_window": 3,
         "max_window_layers": 0},),
    "qwen3_bare": (QWEN3, bare("model.")),
    "qwen3_biases": ({**QWEN3, "attention_bias": True},),
    "qwen3_window": (
        {**QWEN3, "use_sliding_window": True, "sliding_window": 3,
         "max_window_layers": 0},),
    "gpt2": (GPT2,),
    "gpt2_bare": (
        GPT2, bare("transformer."),
        {"h.0.attn.bias": [1, 1, 32, 32], "h.1.attn.masked_bias": [1]}),
    # By the class's map of attributes, before the names of its own.
    "gpt2_other_names_of_fields": (
        {**without(GPT2, "n_embd", "n_layer", "n_positions"),
         "hidden_size": 16, "num_hidden_layers": 2,
         "max_position_embeddings": 32, "num_attention_heads": 2},),
    # Another name of gelu_new.
    "gpt2_gelu_pytorch_tanh": (
        {**GPT2, "activation_function": "gelu_pytorch_tanh"},),
    "gpt2_gelu_fast": ({**GPT2, "activation_function": "gelu_fast"},),
    "gpt2_quick_gelu": ({**GPT2, "activation_function": "quick_gelu"},),
    "gpt2_scaled_by_layer": (
        {**GPT2, "scale_attn_by_inverse_layer_idx": True},),
    "gpt2_not_scaled": ({**GPT2, "scale_attn_weights": False},),
    "gpt2_scaled_by_layer_alone": (
        {**GPT2, "scale_attn_by_inverse_layer_idx": True,
         "scale_attn_weights": False},),
    "gpt2_untied": ({**GPT2, "tie_word_embeddings": False},),
    "olmo2": (OLMO2,),
    "olmo2_bare": (OLMO2, bare("model.")),
    "gemma2": (GEMMA2,),
    "phi": (PHI,),
    "falcon": (FALCON,),
    "mamba2": (MAMBA2,),
    "mamba2_bare": (MAMBA2, bare("backbone.")),
    "mamba2_one_group": ({**MAMBA2, "n_groups": 1},),
    "mamba2_biases": ({**MAMBA2, "use_bias": True, "use_conv_bias": False},),
    "mamba2_tied": ({**MAMBA2, "tie_word_embeddings": True},),
    "mamba2_gelu": ({**MAMBA2, "hidden_act": "gelu"},),
    "mamba2_limits": ({**MAMBA2, "time_step_limit": [0.5, 0.75]},),
}


def saved_tensors(config, folder):
    """Names and shapes that the library writes for a configuration."""
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    loaded = transformers.AutoConfig.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_config(loaded)
    model.save_pretrained(folder)
    from safetensors import safe_open
    with safe_open(os.path.join(folder, "model.safetensors"), "pt") as f:
        return {k: list(f.get_slice(k).get_shape()) for k in f.keys()}


def record(name, config, rename=None, more=None):
    with tempfile.TemporaryDirectory() as folder:
        shapes = saved_tensors(config, folder)
    if rename is fused_experts:
        shapes = rename(shapes)
    elif rename is not None:
        shapes = {rename(k): v for k, v in shapes.items()}
    for key, like in (more or {}).items():
        shapes[key] = like if isinstance(like, list) else shapes[like]
    with tempfile.TemporaryDirectory() as folder:
        save_file({k: values(k, v) for k, v in shapes.items()},
                  os.path.join(folder, "model.safetensors"),
                  metadata={"format": "pt"})
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump(config, f)
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager",
            output_loading_info=True)
        model.eval()
        if info["missing_keys"]:
            print(name, "lacks", info["missing_keys"], file=sys.stderr)
        if info["unexpected_keys"]:
            print(name, "unused", info["unexpected_keys"], file=sys.stderr)
        vocab = config["vocab_size"]
        ids = [(7 * i * i + 3) % vocab for i in range(TOKENS)]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -ROWS:]
    return {"name": name, "config": config, "tensors": shapes, "tokens": ids,
            "logits": [[round(x, 6) for x in row] for row in logits.tolist()]}


def main():
    transformers.utils.logging.disable_progress_bar()
    print('{"transformers": "%s", "cases": [' % transformers.__version__)
    lines = [json.dumps(record(name, *case), separators=(",", ":"))
             for name, case in CASES.items()]
    print(",\n".join(lines) + "]}")


if __name__ == "__main__":
    main()
