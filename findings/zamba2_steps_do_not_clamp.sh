#!/usr/bin/env bash
# transformers 5.24.0: a Zamba 2 model computes other logits with its cache than
# without, because "time_step_min" counts in one of the two.
#
# The class takes "time_step_min" as the lower limit of the Mamba-2 steps and
# clamps them when it runs a prompt. When it runs one token from the cache it does
# not. So what a model generates depends on use_cache, with fp32 weights on a CPU
# and no error; the larger the limit, the further apart.
#
# Seen: the logits of the tokens after a prompt of 8 differ by more than 1e-2
# between one pass and one token at a time with "time_step_min" 0.1, and by
# less than 1e-4 with 1e-6.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q transformers==5.24.0 torch==2.15.0
cat > "$folder/check.py" <<'PYTHON'
import sys

import torch
import transformers
from transformers import Zamba2Config, Zamba2ForCausalLM


def difference(time_step_min):
    torch.manual_seed(0)
    config = Zamba2Config(
        vocab_size=64, hidden_size=32, num_hidden_layers=2,
        layers_block_type=["linear_attention", "hybrid"], mamba_d_state=16,
        mamba_expand=2, n_mamba_heads=4, intermediate_size=48,
        num_attention_heads=4, adapter_rank=4, use_mem_rope=True,
        time_step_min=time_step_min, pad_token_id=0)
    model = Zamba2ForCausalLM(config).eval()
    for name, weight in model.named_parameters():
        if weight.dim() >= 2:
            weight.data.normal_(0, weight.shape[-1] ** -0.5)
        if name.endswith("dt_bias"):  # steps of about 0.02
            weight.data.fill_(-4)
    ids = torch.randint(1, 64, (1, 20))
    with torch.no_grad():
        whole = model(ids, use_cache=False).logits
        out = model(ids[:, :8], use_cache=True)
        rows = []
        for at in range(8, 20):
            out = model(ids[:, at:at + 1], use_cache=True,
                        past_key_values=out.past_key_values)
            rows.append(out.logits[0, -1])
    return (torch.stack(rows) - whole[0, 8:]).abs().max().item()


low, none = difference(0.1), difference(1e-6)
print(f"transformers {transformers.__version__}: largest difference of logits "
      f"{low:.1e} with time_step_min 0.1, {none:.1e} with 1e-6")
sys.exit(0 if low > 1e-2 and none < 1e-4 else 1)
PYTHON
"$folder/v/bin/python" "$folder/check.py" 2> /dev/null
