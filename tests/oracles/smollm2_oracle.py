#!/usr/bin/env python3
"""Compares the answers of a llama GGUF with those of `transformers`.

The oracle is LlamaForCausalLM in fp32 on the CPU with eager attention. Its
weights are the file's, dequantised by the `gguf` package, and its tokenizer is
built from the file's vocabulary by `tokenizers`. Two comparisons:

  answers        greedy, on a copy of the model with f16 matrices (written here;
                 the oracle has the same rounded values): 20 prompts of 64
                 tokens, with fp32 and with bf16 keys and values
  distributions  on the file as it is: KL(oracle | ours) and the agreement of
                 the most likely token over the pieces of smollm2_text.txt

An answer must equal the oracle's up to the first step where the oracle's two
best logits are closer than 0.02. The oracle reads prompt and answer in one
pass: as long as every token so far was its own first choice, its choice after
them is what it would have generated.

Not run by the tests. Needs torch, transformers 5, tokenizers, gguf, safetensors
and about 3 GB of memory. Ends with 1 when a bound does not hold.

  python3 tests/oracles/smollm2_oracle.py --model FILE.gguf \
      --binary build/release/intarsia
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import jinja2
import numpy as np
import safetensors.torch
import tokenizers
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
STEPS = 64
MARGIN = 0.02
PIECE = 512  # tokens of a sequence whose distributions are compared
PIECES_A_FILE = 2  # 100 MB of logits each
MAX_KL = 1e-3
MIN_AGREEMENT = 0.98

# Continued as they are.
PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a forest far away, there lived",
    "def fibonacci(n):\n    ",
    "Water boils at 100 degrees Celsius because",
    "1, 2, 3, 4, 5, 6, 7, 8,",
    "# How to make bread\n\n## Ingredients\n",
    "The French Revolution began in 1789 when",
    "#include <vector>\n\nint main() {",
    '{"name": "Ada", "born": 1815, "fields": [',
    "Bonjour, je m'appelle",
    "Q: What is 17 + 25?\nA:",
    "In 1905, Albert Einstein published four papers. The first",
    "☕ naïve café – 20 °C:",
    "SELECT name, age FROM users WHERE",
]
# Put into the chat template.
MESSAGES = [
    "Why is the sky blue?",
    "Write a haiku about the sea.",
    "List three uses of a paper clip.",
    "What is the difference between a virus and a bacterium?",
    "Translate 'good morning' into Spanish and German.",
    "Write a Python function that reverses a string.",
]


class Gguf:
    """What a llama GGUF holds, without its quantisation."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        if self.get("general.architecture") != "llama":
            raise SystemExit(f"{path} is not of the llama architecture")

    def get(self, key, default=None):
        field = self.reader.get_field(key)
        return default if field is None else field.contents()

    def tensors(self, half):
        """Yields name, values and whether it is a matrix; `half` rounds the
        matrices to f16."""
        for tensor in self.reader.tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            values = values.astype(np.float32)
            matrix = values.ndim == 2
            if matrix and half:
                values = values.astype(np.float16)
            yield tensor.name, values, matrix

    def write_half(self, path):
        """A copy with f16 matrices."""
        writer = gguf.GGUFWriter(path, "llama")
        for key, field in self.reader.fields.items():
            if key.startswith("GGUF.") or key == "general.architecture":
                continue
            value = field.contents()
            if key == "general.file_type":
                value = int(gguf.LlamaFileType.MOSTLY_F16)
            element = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(key, value, field.types[0], element)
        for name, values, _ in self.tensors(half=True):
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def oracle(self, half):
        """The model in fp32, from the values or the values rounded to f16."""
        heads = self.get("llama.attention.head_count")
        kv_heads = self.get("llama.attention.head_count_kv", heads)
        embedding = self.get("llama.embedding_length")
        names = {tensor.name for tensor in self.reader.tensors}
        config = transformers.LlamaConfig(
            vocab_size=len(self.get("tokenizer.ggml.tokens")),
            hidden_size=embedding,
            intermediate_size=self.get("llama.feed_forward_length"),
            num_hidden_layers=self.get("llama.block_count"),
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=self.get("llama.rope.dimension_count", embedding // heads),
            max_position_embeddings=self.get("llama.context_length"),
            rms_norm_eps=self.get("llama.attention.layer_norm_rms_epsilon"),
            rope_parameters={
                "rope_type": "default",
                "rope_theta": self.get("llama.rope.freq_base", 10000.0),
            },
            tie_word_embeddings="output.weight" not in names,
            attn_implementation="eager",
        )
        model = transformers.LlamaForCausalLM(config).float().eval()
        state = {}
        for name, values, _ in self.tensors(half):
            values = torch.from_numpy(values.astype(np.float32))
            if name.endswith("attn_q.weight"):
                values = rotate_halves(values, heads)
            elif name.endswith("attn_k.weight"):
                values = rotate_halves(values, kv_heads)
            state[hugging_face_name(name)] = values
        missing, unexpected = model.load_state_dict(state, strict=False)
        tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
        if set(missing) - tied or unexpected:
            raise SystemExit(
                f"tensors: missing {missing}, not known {unexpected}")
        model.tie_weights()
        return model

    def tokenizer(self):
        if (self.get("tokenizer.ggml.model") != "gpt2" or
                self.get("tokenizer.ggml.pre") != "smollm"):
            raise SystemExit("only the tokenizer of SmolLM is known here")
        tokens = self.get("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" "))
                  for merge in self.get("tokenizer.ggml.merges")]
        result = tokenizers.Tokenizer(tokenizers.models.BPE(
            {token: i for i, token in enumerate(tokens)}, merges))
        pre = tokenizers.pre_tokenizers
        result.pre_tokenizer = pre.Sequence([
            pre.Digits(individual_digits=True),
            pre.ByteLevel(add_prefix_space=False, use_regex=True),
        ])
        result.decoder = tokenizers.decoders.ByteLevel()
        kinds = self.get("tokenizer.ggml.token_type")
        control = int(gguf.TokenType.CONTROL)
        result.add_special_tokens([
            tokenizers.AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, kinds) if kind == control
        ])
        return result

    def render(self, message):
        template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        return template.from_string(self.get("tokenizer.chat_template")).render(
            messages=[{"role": "user", "content": message}],
            add_generation_prompt=True)


def rotate_halves(values, heads):
    """GGUF stores the rows of q and k so that neighbours rotate together;
    transformers rotates the first half of a head with the second."""
    rows, columns = values.shape
    return (values.view(heads, rows // heads // 2, 2, columns)
            .transpose(1, 2).reshape(rows, columns))


def hugging_face_name(name):
    ends = {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "output": "lm_head",
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    parts = name.removesuffix(".weight").split(".")
    block = f"model.layers.{parts[1]}." if parts[0] == "blk" else ""
    return block + ends[parts[-1]] + ".weight"


def run_json(command):
    done = subprocess.run([str(c) for c in command], capture_output=True,
                          text=True)
    if not done.stdout.strip():
        raise SystemExit(f"{command[:2]} failed: {done.stderr}")
    return json.loads(done.stdout)


def compare_answer(oracle, prompt, answer):
    """Steps that had to be equal, whether they were, how many of all 64 were
    the oracle's choice before the first that was not, and its margin there."""
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        logits = oracle(ids, use_cache=False).logits[0, len(prompt) - 1:-1]
    best = logits.topk(2, dim=-1)
    margins = (best.values[:, 0] - best.values[:, 1]).tolist()
    choices = best.indices[:, 0].tolist()
    due = next((i for i, m in enumerate(margins) if m < MARGIN), len(margins))
    equal = next((i for i, (a, b) in enumerate(zip(choices, answer)) if a != b),
                 len(answer))
    margin = margins[equal] if equal < len(answer) else None
    return due, equal >= due, equal, margin


def compare_answers(model, oracle, tokenizer, half, binary, state):
    """Prints a line for each prompt that differs; returns the totals."""
    total = {"prompts": 0, "as the oracle": 0, "steps due": 0,
             "equal to the end": 0, "text as tokenizers'": 0}
    for kind, prompts in (("text", PROMPTS), ("chat", MESSAGES)):
        for prompt in prompts:
            command = [binary, "generate", half, "--prompt", prompt,
                       "--temperature", "0", "--ignore-eos", "--json",
                       "--max-tokens", STEPS, "--state-dtype", state]
            text = prompt
            if kind == "chat":
                command.append("--chat")
                text = model.render(prompt)
            ours = run_json(command)
            ids = tokenizer.encode(text).ids
            answer = ours["tokens"]
            if ours["prompt_tokens"] != len(ids) or len(answer) != STEPS:
                raise SystemExit(
                    f"{prompt!r}: {ours['prompt_tokens']} tokens of prompt and "
                    f"{len(answer)} of answer instead of {len(ids)}, {STEPS}")
            decoded = tokenizer.decode(answer, skip_special_tokens=True)
            due, good, equal, margin = compare_answer(oracle, ids, answer)
            total["prompts"] += 1
            total["as the oracle"] += good
            total["steps due"] += due
            total["equal to the end"] += equal == STEPS
            total["text as tokenizers'"] += ours["text"] == decoded
            if equal < STEPS:
                print(f"  {prompt[:40]!r}: the oracle's for {equal} of {STEPS} "
                      f"steps, its margin there {margin:.1e}"
                      f"{'' if good else ', WRONG'}")
            if ours["text"] != decoded:
                print(f"  {prompt[:40]!r}: text {ours['text']!r}, decoded by "
                      f"tokenizers {decoded!r}")
    return total


def text_pieces(tokenizer):
    """The text as sequences of PIECE tokens, its parts set apart by token 0."""
    ids = []
    text = (HERE / "smollm2_text.txt").read_text(encoding="utf-8")
    for part in text.split("\n%%\n"):
        ids += [0] + tokenizer.encode(part.rstrip("\n")).ids
    count = len(ids) // PIECE
    return [ids[i * PIECE:(i + 1) * PIECE] for i in range(count)]


def compare_distributions(oracle, pieces, model_path, binary, folder, flags):
    tokens, kl, agreement, error = 0, 0.0, 0.0, 0.0
    for begin in range(0, len(pieces), PIECES_A_FILE):
        ids = torch.tensor(pieces[begin:begin + PIECES_A_FILE])
        with torch.no_grad():
            logits = oracle(ids, use_cache=False).logits
        golden = folder / "golden.safetensors"
        safetensors.torch.save_file(
            {"input_ids": ids.int(), "logits": logits.contiguous()}, golden)
        report = run_json([binary, "verify", model_path, "--reference", golden,
                           "--json", *flags])
        golden.unlink()
        n = ids.numel()
        tokens += n
        kl += report["mean_kl"] * n
        agreement += report["top1_agreement"] * n
        error = max(error, report["max_abs_error"] / report["logit_std"])
    return {"tokens": tokens, "mean KL": kl / tokens,
            "top-1 agreement": agreement / tokens,
            "largest error (deviations)": error}


def show(title, values):
    print(title)
    for name, value in values.items():
        shown = f"{value:.3e}" if isinstance(value, float) and value < 0.1 \
            else f"{value:.5g}"
        print(f"  {name:<28}{shown}")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", required=True, help="the .gguf file")
    parser.add_argument("--binary", required=True, help="intarsia")
    parser.add_argument("--folder", help="for large files (default: temporary)")
    parser.add_argument("--skip-answers", action="store_true")
    parser.add_argument("--skip-distributions", action="store_true")
    parser.add_argument("--verify-flags", default="",
                        help='for verify, for example "--chunk 64"')
    args = parser.parse_args()
    versions = {m.__name__: m.__version__
                for m in (torch, transformers, tokenizers, np)}
    print(" ".join(f"{name} {version}" for name, version in versions.items()))

    model = Gguf(args.model)
    tokenizer = model.tokenizer()
    good = True
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        folder = pathlib.Path(folder)
        if not args.skip_answers:
            half = folder / "f16.gguf"
            model.write_half(half)
            oracle = model.oracle(half=True)
            for state in ("f32", "bf16"):
                total = compare_answers(model, oracle, tokenizer, half,
                                        args.binary, state)
                show(f"answers, f16 matrices, {state} state", total)
                if state == "f32":
                    good &= total["as the oracle"] == total["prompts"]
        if not args.skip_distributions:
            result = compare_distributions(
                model.oracle(half=False), text_pieces(tokenizer), args.model,
                args.binary, folder, args.verify_flags.split())
            show("distributions, the file as it is", result)
            good &= (result["mean KL"] <= MAX_KL and
                     result["top-1 agreement"] >= MIN_AGREEMENT)
    print("passed" if good else "FAILED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
