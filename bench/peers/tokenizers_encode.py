#!/usr/bin/env python3
"""Encoding on one thread: ours beside the `tokenizers` library, or beside
`sentencepiece` for a tokenizer.model, pass by pass in turn.

  python bench/peers/tokenizers_encode.py build/release/bench_encode \\
      TOKENIZER TEXT... [--rounds 15]

Checks first that both give the same tokens. Each file is cut into documents of
about 4 KB, at line ends. Prints medians in MB/s and the ratio of the medians.
With --kinds the tokenizers are those of tests/tokenizers.
"""

import argparse
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BYTES = 4096


def documents(paths):
    out, piece = [], ""
    for path in paths:
        for line in pathlib.Path(path).read_text(errors="replace").splitlines(
                keepends=True):
            piece += line.replace("\f", " ")
            if len(piece) > BYTES:
                out.append(piece)
                piece = ""
    return out + [piece] if piece else out


def peer(path):
    """A function from a text to its ids, without special tokens around it."""
    if path.endswith(".json"):
        import tokenizers
        tokenizer = tokenizers.Tokenizer.from_file(path)
        return lambda text: tokenizer.encode(
            text, add_special_tokens=False).ids
    import sentencepiece
    return sentencepiece.SentencePieceProcessor(model_file=path).encode


def checksum(rows):
    total, value = 0, 2166136261
    for ids in rows:
        total += len(ids)
        for token in ids:
            value = ((value ^ token) * 16777619) & 0xFFFFFFFF
    return f"{total} {value}"


def compare(binary, name, path, texts, rounds):
    encode = peer(path)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\f\n".join(texts))
        file.flush()
        ours = subprocess.Popen([binary, path, file.name], text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        same = ours.stdout.readline().strip() == checksum(map(encode, texts))
        times = ([], [])
        for _ in range(rounds):
            ours.stdin.write("\n")
            ours.stdin.flush()
            times[0].append(int(ours.stdout.readline()) * 1e-9)
            begin = time.perf_counter()
            for text in texts:
                encode(text)
            times[1].append(time.perf_counter() - begin)
        ours.stdin.close()
        ours.wait()
    size = sum(len(text.encode()) for text in texts) / 1e6
    mine, theirs = (size / statistics.median(t) for t in times)
    print(f"{name:20} {'equal' if same else 'UNEQUAL':8} ours {mine:7.1f} MB/s"
          f"  peer {theirs:6.1f} MB/s  ratio {mine / theirs:5.2f}", flush=True)
    return same


def kinds(folder):
    """The tokenizers of the tests as files: name, path."""
    sys.path.insert(0, str(ROOT / "tests" / "tokenizers"))
    import record_encodings as recorded
    for name in recorded.kinds.KINDS:
        path = os.path.join(folder, name + ".json")
        pathlib.Path(path).write_text(json.dumps(recorded.compose(name)))
        yield name, path
    for name in ("llama", "unigram"):
        path = os.path.join(folder, name + ".model")
        pathlib.Path(path).write_bytes(gzip.open(
            recorded.DATA / f"{name}.model.gz").read())
        yield "sp_" + name, path


def main():
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--kinds", action="store_true")
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.kinds:
            tokenizers, files = list(kinds(folder)), options.files
        else:
            path, *files = options.files
            tokenizers = [(pathlib.Path(path).name, path)]
        texts = documents(files)
        good = [compare(options.binary, name, path, texts, options.rounds)
                for name, path in tokenizers
                if not options.only or name in options.only]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
