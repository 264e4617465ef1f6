#!/usr/bin/env python3
"""Greedy decode of a Llama of SmolLM2-135M's shape by transformers on a GPU.

What a user would run instead: random bf16 weights, batch 1 and 16, an empty
context, 128 new tokens. Prints tokens/s, the median of five runs after a
warm-up.
"""

import statistics
import time

import torch
import transformers


def main():
    config = transformers.LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
    )
    model = transformers.LlamaForCausalLM(config).to("cuda", torch.bfloat16)
    model.eval()
    for batch in (1, 16):
        prompt = torch.randint(0, 49152, (batch, 8), device="cuda")
        rates = []
        for run in range(6):
            torch.cuda.synchronize()
            start = time.perf_counter()
            with torch.no_grad():
                model.generate(
                    prompt,
                    max_new_tokens=128,
                    min_new_tokens=128,
                    do_sample=False,
                    pad_token_id=0,
                )
            torch.cuda.synchronize()
            if run > 0:
                rates.append(batch * 128 / (time.perf_counter() - start))
        print(
            f"transformers {transformers.__version__} bf16, batch {batch}: "
            f"{statistics.median(rates):.1f} tok/s"
        )


if __name__ == "__main__":
    main()
