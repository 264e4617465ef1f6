"""Perplexity of a model quantised by us and by llama.cpp, in both engines.

    python3 bench/peers/quantized_perplexity.py --intarsia build/release/intarsia \
        --model model-f16.gguf --text TEXT [--types Q4_K_M,...] [--pieces 6]

For each type: `intarsia quantize` and llama.cpp's llama_model_quantize (package
llama-cpp-python) make a file from the same model. Printed are the sizes, the
perplexity of our file in `intarsia perplexity` and in llama.cpp, that of
llama.cpp's own file in llama.cpp, and the two ratios: same file in the two
engines, and our file in ours against theirs in theirs. Pieces of --ctx tokens,
the second half of each is scored, in both programs alike.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
# This folder has a file of the package's name.
sys.path = [p for p in sys.path if os.path.abspath(p or ".") != HERE]

TYPES = ("F16,BF16,Q8_0,Q6_K,Q5_K_M,Q5_K_S,Q5_1,Q5_0,Q4_K_M,Q4_K_S,Q4_1,Q4_0,"
         "IQ4_NL,IQ4_XS,MXFP4,Q3_K_L,Q3_K_M,Q3_K_S,Q2_K")
FTYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8,
          "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13,
          "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18,
          "IQ4_NL": 25, "IQ4_XS": 30, "BF16": 32}


class Peer:
    def __init__(self, threads):
        from llama_cpp import llama_cpp as api
        self.api, self.threads = api, threads
        self.log = api.llama_log_callback(lambda *_: None)
        api.llama_log_set(self.log, None)
        api.llama_backend_init()

    def quantize(self, source, target, ftype):
        params = self.api.llama_model_quantize_default_params()
        params.ftype = ftype
        params.nthread = self.threads
        if self.api.llama_model_quantize(source.encode(), target.encode(),
                                         ctypes.byref(params)):
            raise SystemExit(f"llama.cpp does not quantise {target}")

    def perplexity(self, path, text, ctx, pieces):
        api = self.api
        model = api.llama_model_load_from_file(
            path.encode(), api.llama_model_default_params())
        if not model:
            return float("nan")
        params = api.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = ctx
        params.n_threads = params.n_threads_batch = self.threads
        context = api.llama_init_from_model(model, params)
        vocab = api.llama_model_get_vocab(model)
        room = len(text) + 8
        tokens = (api.llama_token * room)()
        count = api.llama_tokenize(vocab, text, len(text), tokens, room, True,
                                   False)
        bos = api.llama_vocab_bos(vocab)
        begins = tokens[0] == bos
        size = api.llama_vocab_n_tokens(vocab)
        batch = api.llama_batch_init(ctx, 0, 1)
        first, total, scored = ctx // 2, 0.0, 0
        for piece in range(min(pieces, count // ctx)):
            api.llama_memory_clear(api.llama_get_memory(context), True)
            ids = list(tokens[piece * ctx:(piece + 1) * ctx])
            if begins:
                ids[0] = bos
            batch.n_tokens = ctx
            for i, token in enumerate(ids):
                batch.token[i], batch.pos[i] = token, i
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
                batch.logits[i] = first <= i < ctx - 1
            if api.llama_decode(context, batch):
                raise SystemExit("llama_decode failed")
            for i in range(first, ctx - 1):
                row = np.ctypeslib.as_array(
                    api.llama_get_logits_ith(context, i),
                    shape=(size,)).astype(np.float64)
                top = row.max()
                total += top + np.log(np.exp(row - top).sum()) - row[ids[i + 1]]
                scored += 1
        api.llama_batch_free(batch)
        api.llama_free(context)
        api.llama_model_free(model)
        return float(np.exp(total / scored))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--intarsia", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--pieces", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--imatrix")
    args = parser.parse_args()
    text = open(args.text, "rb").read()
    peer = Peer(args.threads)

    def ours(path):
        out = subprocess.run(
            [args.intarsia, "perplexity", path, "--text", args.text, "--ctx",
             str(args.ctx), "--pieces", str(args.pieces), "--threads",
             str(args.threads), "--state-dtype", "f16", "--json"],
            capture_output=True, check=True, text=True)
        return json.loads(out.stdout)["perplexity"]

    print("| type | MB ours | MB llama.cpp | ours in ours | ours in llama.cpp |"
          " llama.cpp's in llama.cpp | same file | each its own |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in args.types.split(","):
            mine = os.path.join(folder, "ours.gguf")
            command = [args.intarsia, "quantize", args.model, mine, "--type",
                       name, "--threads", str(args.threads), "--json"]
            if args.imatrix:
                command += ["--imatrix", args.imatrix]
            subprocess.run(command, check=True, capture_output=True)
            a = ours(mine)
            b = peer.perplexity(mine, text, args.ctx, args.pieces)
            theirs_mb, c = "", float("nan")
            if name in FTYPES:
                theirs = os.path.join(folder, "theirs.gguf")
                peer.quantize(args.model, theirs, FTYPES[name])
                theirs_mb = f"{os.path.getsize(theirs) / 1e6:.1f}"
                c = peer.perplexity(theirs, text, args.ctx, args.pieces)
            print(f"| {name} | {os.path.getsize(mine) / 1e6:.1f} | {theirs_mb}"
                  f" | {a:.4f} | {b:.4f} | {c:.4f} | {a / b:.4f} |"
                  f" {a / c:.4f} |", flush=True)


if __name__ == "__main__":
    main()
