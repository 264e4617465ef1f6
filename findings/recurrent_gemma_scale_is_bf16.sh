#!/usr/bin/env bash
# RecurrentGemma of transformers 5.24.0 multiplies embeddings by sqrt(hidden_size)
# rounded to bf16, whatever type the model has: the factor is a bf16 buffer that
# is neither in the checkpoint nor follows the model's type. Gemma's factor in the
# same library is rounded to the type of the model. Seen, for hidden size 48 in
# fp32: 6.9375 (Gemma: 6.928203); for the published 2560: 50.5, not 50.596.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/v"
"$work/v/bin/pip" install -q transformers==5.24.0 torch==2.15.0
"$work/v/bin/python" - <<'PY'
import torch
from transformers import (GemmaConfig, GemmaModel, RecurrentGemmaConfig,
                          RecurrentGemmaModel)
common = dict(vocab_size=16, hidden_size=48, intermediate_size=96,
              num_hidden_layers=3, num_attention_heads=4,
              num_key_value_heads=1, head_dim=12)
factors = {}
for name, config, model in [
        ("recurrent_gemma", RecurrentGemmaConfig(**common, lru_width=48),
         RecurrentGemmaModel),
        ("gemma", GemmaConfig(**common), GemmaModel)]:
    torch.manual_seed(1)
    made = model(config).float().eval()
    ids = torch.tensor([[3, 5, 7]])
    with torch.no_grad():
        seen = made(ids, output_hidden_states=True,
                    use_cache=False).hidden_states[0]
        plain = torch.nn.functional.embedding(ids, made.embed_tokens.weight)
    factors[name] = (seen / plain).mean().item()
print(factors, "sqrt(48) =", 48 ** 0.5)
assert abs(factors["recurrent_gemma"] - 6.9375) < 1e-4, factors
assert abs(factors["gemma"] - 48 ** 0.5) < 1e-4, factors
assert torch.tensor(2560 ** 0.5).bfloat16().item() == 50.5
PY
