"""Records tests/golden/falcon_h1_multipliers: Falcon-H1 with every multiplier.

    pip install torch transformers==5.24.0 safetensors
    python3 tests/oracles/falcon_h1_multipliers.py

The published sizes have multipliers unlike 1; tests/golden/falcon_h1 has ones.
Weights are random and rounded to bf16; the figures are computed in fp32.
"""

import pathlib

import torch
from safetensors.torch import save_file
from transformers import FalconH1Config, FalconH1ForCausalLM

OUT = pathlib.Path("tests/golden/falcon_h1_multipliers")
CONFIG = FalconH1Config(
    vocab_size=128, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    max_position_embeddings=256, mamba_d_ssm=32, mamba_n_heads=4,
    mamba_d_head=8, mamba_d_state=16, mamba_n_groups=2, mamba_d_conv=4,
    mamba_chunk_size=16, mamba_rms_norm=True, mamba_norm_before_gate=False,
    embedding_multiplier=3.0, lm_head_multiplier=0.4, key_multiplier=0.6,
    attention_in_multiplier=1.5, attention_out_multiplier=0.8,
    ssm_in_multiplier=1.3, ssm_out_multiplier=0.7,
    ssm_multipliers=[0.5, 0.8, 1.2, 1.4, 0.9], mlp_multipliers=[0.6, 1.7],
    rms_norm_eps=1e-5, pad_token_id=0, bos_token_id=1, eos_token_id=2)


def main():
    torch.manual_seed(5)
    model = FalconH1ForCausalLM._from_config(
        CONFIG, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("A_log"):
                p.copy_(torch.log(1 + 3 * torch.rand_like(p)))
            elif name.endswith(("layernorm.weight", "norm.weight", ".D")):
                p.copy_(1 + 0.2 * torch.randn_like(p))
            elif p.dim() >= 2:
                p.copy_(torch.randn_like(p) / p.shape[-1] ** 0.5)
            else:
                p.copy_(0.3 * torch.randn_like(p))
            p.copy_(p.to(torch.bfloat16).float())
    OUT.mkdir(parents=True, exist_ok=True)
    model.config.architectures = ["FalconH1ForCausalLM"]
    model.config.dtype = "bfloat16"
    model.config.to_json_file(OUT / "config.json", use_diff=False)
    save_file({n: p.detach().to(torch.bfloat16).contiguous()
               for n, p in model.named_parameters()},
              OUT / "model.safetensors")

    ids = torch.randint(3, 128, (2, 40))
    out = model(ids, output_hidden_states=True, use_cache=False)
    loss = torch.nn.functional.cross_entropy(
        out.logits[:, :-1].reshape(-1, 128), ids[:, 1:].reshape(-1))
    loss.backward()
    gradients = {n: p.grad.contiguous() for n, p in model.named_parameters()}
    gradients["__loss__"] = loss.detach().reshape(1)
    save_file(gradients, OUT / "grads.safetensors")
    tokens, margins = ids[:1, :12], []
    with torch.no_grad():
        for _ in range(20):
            top = model(tokens, use_cache=False).logits[0, -1].topk(2)
            margins.append((top.values[0] - top.values[1]).item())
            tokens = torch.cat([tokens, top.indices[:1][None]], 1)
    save_file({"input_ids": ids.int(), "logits": out.logits.detach(),
               "hidden_states": torch.stack(
                   [h[0].detach() for h in out.hidden_states]),
               "greedy_tokens": tokens.int(),
               "greedy_margins": torch.tensor(margins)},
              OUT / "golden.safetensors")
    print("deviation", out.logits.std().item(), "loss", loss.item(),
          "least margin", min(margins))


if __name__ == "__main__":
    main()
