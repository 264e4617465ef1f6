#!/usr/bin/env python3
"""Records what the tokenizer tests compare with.

Trains small vocabularies on the text below with the `tokenizers` library,
and records its encodings of a set of strings. Writes into
intarsia/tokenizer/testdata:

  NAME.tokenizer.json   a vocabulary under the pre-tokenizer of NAME
  encodings.jsonl.gz    {"text", NAME: ids, NAME_plain: ids when special tokens
                        are text, NAME_text: decoded, where it is not the text}

Not run by the tests. Needs tokenizers 0.23.

  python tests/oracles/make_tokenizer_data.py
"""

import gzip
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent.parent / "intarsia" / "tokenizer" / "testdata"

SENTENCES = """
A joiner sets walnut beside maple and lets the grain decide where the line runs.
The clock in the hall doesn't strike; it's been quiet since they've moved it.
We'll meet at 10:45 on platform 7, and I'd bring 3 sandwiches if you're hungry.
"Is that all?" she asked. "No," he said, "there's one more - and it isn't easy."
Rivers carve their valleys slowly: 1, 22, 333, 4444, 55555 years, then more.
Memory is a list of blocks; a block holds keys, values, and what came before.
for i in range(10):\n    total += weights[i] * x[i]\n    if total > 1.5e-3:\n        return None
int main(int argc, char** argv) {\n\tstd::vector<int> ids = {1, 2, 3};\n\treturn 0;\n}
{"role": "user", "content": "Hello, world!", "n": 42, "ok": true, "list": [1, 2.5]}
Der Zug nach Köln fährt über Düsseldorf; die Straße ist heute gesperrt.
Le garçon a mangé une crêpe près de l'église, où l'été était déjà fini.
El niño soñó con un pingüino pequeño que vivía en la montaña más alta.
Старый мост над рекой скрипел, но люди всё равно шли домой через него.
Η θάλασσα ήταν ήρεμη και ο ήλιος έλαμπε πάνω από το νησί.
春の朝、小さな駅で電車を待つ人々は静かに新聞を読んでいた。
我们在山顶看日出，天空从深蓝变成金黄色。
오늘 아침에 비가 왔지만 지금은 하늘이 맑습니다.
في الصباح الباكر فتح البائع دكانه ورتب الكتب على الرف.
सुबह की हवा ठंडी थी और बच्चे मैदान में खेल रहे थे।
""".strip().split("\n")

WORDS = (
    "the of wood grain inlay block state token model river clock station light "
    "don't it's we'll they've I'd THEY'RE He'S l'été naïve café Zürich Straße "
    "snake_case camelCase HTTPServer C++20 x86-64 foo(bar) a[i+1] #include "
    "https://example.org/a?b=c&d=1 user@mail.org 3.14159 1,000,000 2031-02-28 "
    "'s 'T 'ſ 'd ... !!! --- === /* */ <|im_start|> <|im_end|> <|end|> [PAD] "
    "привет θάλασσα 電車 天空 하늘 الصباح बच्चे").split()
SPACES = [" "] * 8 + ["  ", "    ", "\n", "\n\n", "\t", "\r\n", " \n ", "\u3000",
                      "\u00a0", "\u000b", "\u0085", "\u2028", "\u180e", "      "]
RANGES = [
    (0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x17F), (0x370, 0x3FF), (0x400, 0x4FF),
    (0x5D0, 0x5EA), (0x620, 0x64A), (0x904, 0x939), (0xE01, 0xE30),
    (0x10A0, 0x10C5), (0x1100, 0x11FF), (0x3041, 0x3096), (0x30A1, 0x30FA),
    (0x4E00, 0x9FEF), (0xAC00, 0xD7A3), (0x1F300, 0x1F64F), (0x300, 0x36F),
    (0x2010, 0x2027), (0x20A0, 0x20BF), (0x2150, 0x218B), (0x660, 0x669),
    (0x966, 0x96F), (0x0, 0x1F), (0x7F, 0xA0), (0x1D400, 0x1D454),
    (0x21, 0x2F), (0x3A, 0x40), (0x30, 0x39), (0xFE00, 0xFE0F),
    (0x1F1E6, 0x1F1FF), (0xFF01, 0xFFBE), (0x12000, 0x12399), (0x200B, 0x200F),
    (0x1E00, 0x1EFF), (0x1F00, 0x1F15), (0x1161, 0x1175), (0x958, 0x95F),
    (0x1F3FB, 0x1F3FF),
]

GPT2 = (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
        r"|\s+(?!\S)|\s+")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def byte_level(**kwargs):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **kwargs})


# name: (pre-tokenizer, whole alphabet of bytes, ignore_merges, bos)
KINDS = {
    "gpt2": (byte_level(add_prefix_space=True), True, False, False),
    "smollm": (pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), byte_level()]),
        False, False, False),
    "llama3": (pre_tokenizers.Sequence(
        [split(LLAMA3), byte_level(use_regex=False)]), True, True, True),
    "qwen2": (pre_tokenizers.Sequence(
        [split(QWEN2), byte_level(use_regex=False)]), True, False, False),
}
SPECIAL = ["<|end|>", "<|im_start|>", "<|im_end|>"]


def corpus(rng):
    for _ in range(3000):
        line = rng.choice(SENTENCES).replace("\\n", "\n").replace("\\t", "\t")
        yield line + " " + " ".join(
            rng.choice(SENTENCES[:8]).split()[rng.randrange(3)]
            for _ in range(4))


def train(name):
    pre, whole, ignore_merges, bos = KINDS[name]
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet() if whole else []
    trainer = trainers.BpeTrainer(
        vocab_size=800, show_progress=False, special_tokens=SPECIAL,
        initial_alphabet=alphabet)
    tokenizer.train_from_iterator(corpus(random.Random(1)), trainer)
    # Not special, found in the text all the same; two of them with manners.
    tokenizer.add_tokens([
        AddedToken("[PAD]", normalized=False),
        AddedToken("#include", single_word=True, normalized=False),
        AddedToken("===", lstrip=True, rstrip=True, normalized=True),
    ])
    if bos:
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single="<|im_start|> $A",
                special_tokens=[("<|im_start|>", 1)])])
    tokenizer.save(str(OUT / f"{name}.tokenizer.json"), pretty=False)
    return Tokenizer.from_file(str(OUT / f"{name}.tokenizer.json"))


def strings(rng):
    out = ["", " ", "\n", "a", "'s", "#include#include #includes #include",
           "a ===  b", "e\u0301 \u1112\u1161\u11ab \u212b \u2126 a\u0323\u0302",
           "\u0958 q\u0307\u0323 \u1e9b\u0323 \u0344 \uf900 \U0001d15e", "x<|im_end|>y", "0" * 40, " " * 70 + "x", "ab" * 60]
    out += [s.replace("\\n", "\n").replace("\\t", "\t") for s in SENTENCES]
    while len(out) < 620:
        kind = rng.random()
        text = ""
        if kind < 0.45:
            for _ in range(rng.randint(1, 8)):
                text += rng.choice(WORDS) + rng.choice(SPACES)
        elif kind < 0.85:
            for _ in range(rng.randint(1, 6)):
                low, high = rng.choice(RANGES)
                text += "".join(chr(rng.randint(low, high))
                                for _ in range(rng.randint(1, 4)))
                if rng.random() < 0.4:
                    text += rng.choice(SPACES)
        else:
            text = "".join(rng.choice("abcdeABC 019.,'\n\t-_")
                           for _ in range(rng.randint(1, 30)))
        out.append(text)
    return out


def record_encodings():
    tokenizers = {name: train(name) for name in KINDS}
    rows = []
    for text in strings(random.Random(2)):
        row = {"text": text}
        for name, tokenizer in tokenizers.items():
            tokenizer.encode_special_tokens = False
            ids = tokenizer.encode(text).ids
            row[name] = ids
            tokenizer.encode_special_tokens = True
            plain = tokenizer.encode(text).ids
            if plain != ids:
                row[name + "_plain"] = plain
            decoded = tokenizer.decode(ids, skip_special_tokens=False)
            if decoded != text:
                row[name + "_text"] = decoded
        rows.append(row)
    write("encodings.jsonl.gz", rows)


def write(name, rows):
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":"))
                   + "\n" for row in rows)
    with open(OUT / name, "wb") as file:
        with gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="",
                           compresslevel=9) as packed:
            packed.write(text.encode())
    print(name, len(rows), "records", (OUT / name).stat().st_size, "bytes")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    record_encodings()
