"""Runs `intarsia bench` and llama.cpp in turn on the same models, on the CPU.

    python3 bench/peers/cpu_models.py --smollm2 SmolLM2.gguf --out DIR
    python3 bench/peers/llama_cpp.py --intarsia build/release/intarsia \
        --models DIR [--pairs 5] [--only mamba2] [--json FILE]

Each pair runs ours, then theirs, each in a process of its own that warms up
once; printed are both medians, the ratio of the medians, and the interval that
holds the middle of the pairs' ratios with 95 % confidence (by bootstrap). Of
flash attention on and off llama.cpp gets whichever a first try found faster,
and of F16 and BF16 weights the faster table row is the one to compare with.

llama.cpp comes through the package llama-cpp-python, built from source on the
machine itself (`pip install --no-binary :all: llama-cpp-python`): the first
line says which instruction sets that build uses. Decoding is timed around
llama_decode alone, without sampling, as llama-bench does.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time

# The package has this file's name: keep this folder from hiding it.
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != HERE]

# name: (our model, theirs) under --models
MODELS = {
    "llama f16": ("smollm2-f16.gguf", "smollm2-f16.gguf"),
    "llama bf16": ("smollm2-bf16.gguf", "smollm2-bf16.gguf"),
    "llama q8_0": ("smollm2-q8_0.gguf", "smollm2-q8_0.gguf"),
    "llama q4_0": ("smollm2-q4_0.gguf", "smollm2-q4_0.gguf"),
    "llama q4_1": ("smollm2-q4_1.gguf", "smollm2-q4_1.gguf"),
    "llama wide q4_k_m": ("wide768-q4_k_m.gguf", "wide768-q4_k_m.gguf"),
    "llama wide q5_k_m": ("wide768-q5_k_m.gguf", "wide768-q5_k_m.gguf"),
    "llama wide q6_k": ("wide768-q6_k.gguf", "wide768-q6_k.gguf"),
    "llama wide q5_0": ("wide768-q5_0.gguf", "wide768-q5_0.gguf"),
    "mamba2 bf16": ("mamba2-bf16", "mamba2-f16.gguf"),
    "mamba2 f16": ("mamba2-f16", "mamba2-f16.gguf"),
    "retnet bf16": ("retnet-bf16", None),
}
# name: (prompt, steps, sequences, depth)
TESTS = {
    "pp512": (512, 0, 1, 0),
    "tg64": (0, 64, 1, 0),
    "tg32 x16": (0, 32, 16, 0),
    "tg32 @2048": (0, 32, 1, 2048),
}
DEEP = ("llama f16", "llama bf16", "llama q4_1")


class Peer:
    """A model in llama.cpp with room for `sequences` × `length` tokens."""

    def __init__(self, path, threads, flash, sequences, length):
        from llama_cpp import llama_cpp as api
        self.api = api
        self.log = api.llama_log_callback(lambda *_: None)
        api.llama_log_set(self.log, None)
        api.llama_backend_init()
        self.model = api.llama_model_load_from_file(
            path.encode(), api.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp cannot read {path}")
        params = api.llama_context_default_params()
        params.n_ctx = sequences * ((length + 255) // 256 * 256)
        params.n_batch = params.n_ubatch = 512
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = (api.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash
                                  else api.LLAMA_FLASH_ATTN_TYPE_DISABLED)
        self.context = api.llama_init_from_model(self.model, params)
        vocab = api.llama_model_get_vocab(self.model)
        self.vocab_size = api.llama_vocab_n_tokens(vocab)
        self.batch = api.llama_batch_init(512, 0, 1)

    def clear(self):
        self.api.llama_memory_clear(
            self.api.llama_get_memory(self.context), True)

    def decode(self, rows):
        """rows: (token, position, sequence, wants logits)."""
        b = self.batch
        b.n_tokens = len(rows)
        for i, (token, position, sequence, logits) in enumerate(rows):
            b.token[i], b.pos[i], b.n_seq_id[i] = token, position, 1
            b.seq_id[i][0], b.logits[i] = sequence, logits
        if self.api.llama_decode(self.context, b) != 0:
            raise SystemExit("llama_decode failed")
        self.api.llama_synchronize(self.context)

    def prefill(self, sequence, length):
        for begin in range(0, length, 512):
            end = min(length, begin + 512)
            self.decode([(random.randrange(self.vocab_size), t, sequence,
                          t + 1 == length) for t in range(begin, end)])


def time_peer(path, threads, flash, prompt, steps, sequences, depth):
    """Tokens per second of the second of two runs."""
    peer = Peer(path, threads, flash, sequences, prompt + steps + depth)
    for _ in range(2):
        peer.clear()
        for s in range(sequences):
            peer.prefill(s, depth)
        start = time.perf_counter()
        if prompt:
            peer.prefill(0, prompt)
        for i in range(steps):
            peer.decode([((i * 31 + s * 7) % peer.vocab_size, depth + i, s, 1)
                         for s in range(sequences)])
        seconds = time.perf_counter() - start
    return (prompt + steps * sequences) / seconds


def run_peer(args, path, flash, test):
    command = [args.python, os.path.abspath(__file__), "--worker", path,
               str(args.threads), str(int(flash)), *map(str, TESTS[test])]
    return float(subprocess.run(command, check=True, text=True,
                                stdout=subprocess.PIPE).stdout)


def run_ours(args, path, test):
    prompt, steps, sequences, depth = TESTS[test]
    command = [args.intarsia, "bench", path, "--json", "-r", "1", "--threads",
               str(args.threads), "-p", str(prompt), "-n", str(steps),
               "--npl", str(sequences), "-d", str(depth)]
    out = subprocess.run(command, check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    return json.loads(out)["tests"][0]["tokens_per_second"]


def interval(ratios):
    draw = random.Random(1)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios)))
                     for _ in range(2000))
    return medians[50], medians[-51]


def compare(args, name, test):
    ours, theirs = (m and os.path.join(args.models, m) for m in MODELS[name])
    flash = False
    if theirs:
        flash = name.startswith("llama") and (
            run_peer(args, theirs, True, test) >
            run_peer(args, theirs, False, test))
    row = {"model": name, "test": test, "flash": flash, "ours": [], "peer": []}
    for _ in range(args.pairs):
        row["ours"].append(run_ours(args, ours, test))
        if theirs:
            row["peer"].append(run_peer(args, theirs, flash, test))
    mine = statistics.median(row["ours"])
    if not theirs:
        print(f"| {name} | {test} | {mine:.1f} | | | |", flush=True)
        return row
    peer = statistics.median(row["peer"])
    low, high = interval([a / b for a, b in zip(row["ours"], row["peer"])])
    print(f"| {name} | {test} | {mine:.1f} | {peer:.1f}"
          f"{' (flash)' if flash else ''} | {mine / peer:.2f} | "
          f"{low:.2f} - {high:.2f} |", flush=True)
    return row


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--worker":
        path, *numbers = sys.argv[2:]
        print(time_peer(path, *map(int, numbers)))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--intarsia", required=True)
    parser.add_argument("--models", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", default="", help="part of a model's name")
    parser.add_argument("--test", default="", help="part of a test's name")
    parser.add_argument("--json", help="file for all figures")
    parser.add_argument("--python", default=sys.executable,
                        help="that runs llama.cpp, if not this one")
    args = parser.parse_args()
    from llama_cpp import llama_cpp as api
    print(api.llama_print_system_info().decode().strip(" |"))
    print("\n| model | test | ours, tok/s | llama.cpp | ratio | 95 % |")
    print("|---|---|---:|---:|---:|---|", flush=True)
    rows = []
    for name in MODELS:
        for test in TESTS:
            if args.only not in name or args.test not in test:
                continue
            if TESTS[test][3] and name not in DEEP:
                continue
            rows.append(compare(args, name, test))
    if args.json:
        with open(args.json, "w") as out:
            json.dump(rows, out, indent=1)


if __name__ == "__main__":
    main()
