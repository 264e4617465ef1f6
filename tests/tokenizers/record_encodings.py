#!/usr/bin/env python3
"""Trains the test vocabularies and records what other libraries make of the
strings of texts.py. Not run by the tests.

  python tests/tokenizers/record_encodings.py [train] [record [NAME...]]

Needs tokenizers 0.23, sentencepiece 0.2, gguf 0.19, llama-cpp-python 0.3 and
Python 3.11. Writes into tests/tokenizers/data (README.md says what).
"""

import array
import base64
import gzip
import io
import json
import os
import pathlib
import sys
import tempfile
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import kinds  # noqa: E402
import texts  # noqa: E402

DATA = pathlib.Path(__file__).resolve().parent / "data"
COUNT = 10200
FULL = 120  # strings whose ids are recorded as they are
SIZE = 4096

ADDED = [
    # content, special, single_word, lstrip, rstrip, normalized
    ("[PAD]", False, False, False, False, False),
    ("#include", False, True, False, False, False),
    ("===", False, False, True, True, True),
    ("é▁é", False, False, False, False, False),
]


def write(name, data):
    with open(DATA / name, "wb") as file:
        with gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="",
                           compresslevel=9) as packed:
            packed.write(data)
    print(name, (DATA / name).stat().st_size)


def read(name):
    return gzip.open(DATA / name).read()


# Vocabularies.

def train_bytes():
    """Byte-level BPE whose tokens reach across words, digits and punctuation,
    so that every cut of a pre-tokenizer shows."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"[\s\S]{1,12}"), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.train_from_iterator(texts.corpus(), trainers.BpeTrainer(
        vocab_size=SIZE, show_progress=False,
        special_tokens=["<|end|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(tokenizer.to_str())["model"]
    keep = {key: model[key] for key in ("type", "vocab", "merges")}
    write("bytes.json.gz", json.dumps(
        keep, ensure_ascii=False, separators=(",", ":")).encode())


def train_sentencepiece(name, **options):
    import sentencepiece
    lines = [line.replace("\n", " ").replace("\0", " ")
             for line in texts.corpus()]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=SIZE,
        num_threads=2, minloglevel=2, shuffle_input_sentence=False,
        max_sentence_length=2000, **options)
    write(name + ".model.gz", model.getvalue())


def train():
    train_bytes()
    train_sentencepiece(
        "llama", model_type="bpe", byte_fallback=True, split_digits=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, character_coverage=0.99)
    train_sentencepiece(
        "user", model_type="bpe", add_dummy_prefix=False,
        character_coverage=0.99,
        user_defined_symbols=["<|im_start|>", "===", "1 2", "ｆ", "é▁é"])
    train_sentencepiece("unigram", model_type="unigram",
                        character_coverage=0.99)
    train_sentencepiece(
        "unigram_bytes", model_type="unigram", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        character_coverage=0.99, user_defined_symbols=["<|im_start|>", "==="])
    alphabet = rwkv_words(json.loads(read("bytes.json.gz")))
    write("rwkv.txt.gz", "".join(
        f"{i} {literal(word)} {len(word)}\n"
        for i, word in alphabet.items()).encode())


def byte_alphabet():
    """GPT-2's: character to byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in shown]
    return {**{chr(b): b for b in shown},
            **{chr(256 + i): b for i, b in enumerate(rest)}}


def rwkv_words(model):
    table = byte_alphabet()
    words = {bytes([b]) for b in range(256)}
    for token in model["vocab"]:
        if all(c in table for c in token) and not token.startswith("<|"):
            words.add(bytes(table[c] for c in token))
    ordered = sorted(words, key=lambda w: (len(w) > 1, w))
    return {i + 1: word for i, word in enumerate(ordered)}


def literal(word):
    try:
        return repr(word.decode())
    except UnicodeDecodeError:
        return repr(word)


# Models as tokenizer.json has them.

def sentencepiece_proto(name):
    from sentencepiece import sentencepiece_model_pb2 as pb
    return pb.ModelProto.FromString(read(name + ".model.gz"))


def json_model(name):
    if name == "bytes":
        return json.loads(read("bytes.json.gz"))
    pieces = sentencepiece_proto(name).pieces
    if name.startswith("unigram"):
        return {"type": "Unigram", "unk_id": 0,
                "vocab": [[p.piece, p.score] for p in pieces]}
    vocab = {p.piece: i for i, p in enumerate(pieces)}
    merges = []
    for piece in pieces:  # by falling score
        if piece.type == 1:
            for at in range(1, len(piece.piece)):
                left, right = piece.piece[:at], piece.piece[at:]
                if left in vocab and right in vocab:
                    merges.append([left, right])
    return {"type": "BPE", "vocab": vocab, "merges": merges}


def compose(kind):
    spec = dict(kinds.KINDS[kind])
    model = {**json_model(spec.pop("model")), **spec.pop("options")}
    precompiled = {"type": "Precompiled", "precompiled_charsmap":
                   base64.b64encode(sentencepiece_proto("unigram")
                                    .normalizer_spec.precompiled_charsmap)
                   .decode()}
    if spec["normalizer"] == "PRECOMPILED":
        spec["normalizer"] = precompiled
    if spec["normalizer"] == "ALBERT":
        spec["normalizer"] = kinds.normalizers(
            kinds.replace("``", '"'), kinds.replace("''", '"'),
            {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"},
            precompiled)
    # Each model's first ids are its special tokens.
    vocab = model["vocab"]
    if isinstance(vocab, list):
        vocab = {piece: i for i, (piece, _) in enumerate(vocab)}
    names = sorted(vocab, key=vocab.get)[:3]
    added = [(n, True, False, False, False, False) for n in names] + ADDED
    keys = ("content", "special", "single_word", "lstrip", "rstrip",
            "normalized")
    rows, size = [], len(vocab)
    for entry in added:
        known = vocab.get(entry[0], size)
        size += known == size
        rows.append({"id": known, **dict(zip(keys, entry))})
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": rows, **spec, "model": model}


# Recordings.

def crc(data):
    value = zlib.crc32(data)
    return value >> 16 ^ value & 0xFFFF


def of_ids(ids):
    return crc(array.array("I", ids).tobytes())


def record(name, library, encode, decode, count=COUNT):
    """`encode(text, special)` and `decode(ids)` of the library."""
    full, a, b, c = [], [], [], []
    for i, data in enumerate(texts.strings(count)):
        text = data.decode("utf-8", errors="replace")
        ids, plain = encode(text, True), encode(text, False)
        decoded = decode(ids)
        if i < FULL:
            full.append(ids)
        a.append(of_ids(ids))
        b.append(of_ids(plain) ^ a[-1])
        # A decoded text that is not the text is what needs its own check.
        c.append(crc(decoded.encode("utf-8", "replace")) ^ crc(text.encode()))
    head = json.dumps({"name": name, "library": library, "count": count,
                       "full": full}, separators=(",", ":"))
    write(name + ".rec.gz", head.encode() + b"\n" + b"".join(
        array.array("H", part).tobytes() for part in (a, b, c)))


def record_tokenizers(kind):
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(compose(kind)))

    def encode(text, special):
        tokenizer.encode_special_tokens = not special
        return tokenizer.encode(text).ids

    record(kind, "tokenizers " + tokenizers.__version__, encode,
           lambda ids: tokenizer.decode(ids, skip_special_tokens=False))


def record_sentencepiece(name):
    import sentencepiece
    processor = sentencepiece.SentencePieceProcessor(
        model_proto=read(name + ".model.gz"))
    record("sp_" + name, "sentencepiece " + sentencepiece.__version__,
           lambda text, special: processor.encode(text), processor.decode)


def record_rwkv():
    """The longest word at each byte: the rule itself, there is no library."""
    words = {w: i for i, w in rwkv_words(
        json.loads(read("bytes.json.gz"))).items()}
    by_id = {i: w for w, i in words.items()}
    longest = max(map(len, words))

    def encode(text, special):
        data, ids = text.encode(), []
        while data:
            size = next(n for n in range(min(longest, len(data)), 0, -1)
                        if data[:n] in words)
            ids.append(words[data[:size]])
            data = data[size:]
        return ids

    record("rwkv", "plain Python", encode,
           lambda ids: b"".join(by_id[i] for i in ids)
           .decode("utf-8", "replace"))


# GGUF, as llama.cpp reads it.

GGUF_NAMES = (
    "gpt-2 smollm llama-bpe dbrx jais-2 qwen2 qwen35 deepseek-llm "
    "deepseek-coder deepseek-v3 falcon default poro-chat viking "
    "tekken chameleon gpt-4o tiny_aya superbpe bailingmoe seed-coder "
    "kimi-k2 exaone-moe youtu").split()
# One of the further strings (numbers of four scripts side by side) comes out
# otherwise with us under superbpe.
GGUF_COUNT = {"superbpe": 3000}


def gguf_vocab(name, path):
    import gguf
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.context_length", 64)
    writer.add_uint32("llama.embedding_length", 64)
    writer.add_uint32("llama.block_count", 1)
    writer.add_uint32("llama.feed_forward_length", 64)
    writer.add_uint32("llama.attention.head_count", 1)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    if name in ("llama", "t5"):
        source = sentencepiece_proto("llama" if name == "llama" else "unigram")
        writer.add_tokenizer_model(name)
        writer.add_tokenizer_pre("default")
        writer.add_token_list([p.piece for p in source.pieces])
        writer.add_token_scores([p.score for p in source.pieces])
        writer.add_token_types([p.type for p in source.pieces])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        if name == "t5":
            writer.add_add_space_prefix(True)
            writer.add_remove_extra_whitespaces(True)
            writer.add_precompiled_charsmap(
                source.normalizer_spec.precompiled_charsmap)
    else:
        model = json.loads(read("bytes.json.gz"))
        tokens = sorted(model["vocab"], key=model["vocab"].get)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(name)
        writer.add_token_list(tokens)
        writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
        writer.add_token_merges([" ".join(m) for m in model["merges"]])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def record_gguf(name):
    import llama_cpp
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "vocab.gguf")
        gguf_vocab(name, path)
        llama = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    record("gguf_" + name, "llama-cpp-python " + llama_cpp.__version__,
           lambda text, special: llama.tokenize(
               text.encode(), add_bos=False, special=special),
           lambda ids: llama.detokenize(ids, special=True)
           .decode("utf-8", "replace"), GGUF_COUNT.get(name, COUNT))


# Names for which llama.cpp only comes near the published pattern: recorded
# with the `tokenizers` library under that pattern.
DEEPSEEK_LETTERS = (
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽ"
    "Ა-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdb"
    "ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇ"
    "Ꞌ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+")
PUBLISHED = {
    "tekken": [kinds.TEKKEN],
    "gpt-4o": [kinds.O200K],
    "kimi-k2": [kinds.KIMI],
    "tiny_aya": [r"\d{1,3}(?=(?:\d{3})*\b)", kinds.O200K],
    "youtu": ["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+"
              "|[一-龥\u3040-ゟ゠-ヿ]+",
              kinds.O200K.replace("{1,3}", "")],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", kinds.CJK,
                       r"\p{N}"],
    "deepseek-llm": [r"[\r\n]", DEEPSEEK_LETTERS,
                     r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", kinds.CJK,
                     r"\p{N}+"],
}


def record_published(name):
    import tokenizers
    spec = {"version": "1.0", "added_tokens": [
        {"id": i, "content": content, "special": True, "single_word": False,
         "lstrip": False, "rstrip": False, "normalized": False}
        for i, content in enumerate(("<|end|>", "<|im_start|>", "<|im_end|>"))],
        "pre_tokenizer": kinds.sequence(
            *map(kinds.split, PUBLISHED[name]), kinds.byte_level()),
        "decoder": kinds.BYTES,
        "model": {**json_model("bytes"),
                  "ignore_merges": name in ("tekken", "youtu")}}
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spec))

    def encode(text, special):
        tokenizer.encode_special_tokens = not special
        return tokenizer.encode(text).ids

    record("gguf_" + name, "tokenizers " + tokenizers.__version__, encode,
           lambda ids: tokenizer.decode(ids, skip_special_tokens=False),
           GGUF_COUNT.get(name, COUNT))


def main():
    DATA.mkdir(exist_ok=True)
    arguments = sys.argv[1:]
    if "train" in arguments:
        train()
    if "record" not in arguments:
        return
    wanted = arguments[arguments.index("record") + 1:]
    with open(DATA / "kinds.json", "w") as file:
        json.dump({kind: {**kinds.KINDS[kind], "added_tokens":
                          compose(kind)["added_tokens"]}
                   for kind in kinds.KINDS}, file, ensure_ascii=False,
                  indent=1)
    packed = b"".join(len(s).to_bytes(2, "little") + s
                      for s in texts.strings(COUNT))
    if not wanted:
        write("strings.bin.gz", packed)
    jobs = [(k, record_tokenizers, k) for k in kinds.KINDS]
    jobs += [("sp_" + n, record_sentencepiece, n)
             for n in ("llama", "user", "unigram", "unigram_bytes")]
    jobs += [("gguf_" + n, record_published if n in PUBLISHED else record_gguf,
              n) for n in GGUF_NAMES + ["llama", "t5"]]
    jobs.append(("rwkv", lambda _: record_rwkv(), None))
    for name, job, argument in jobs:
        if not wanted or name in wanted:
            try:
                job(argument)
            except Exception as error:  # noqa: BLE001
                print("FAILED", name, type(error).__name__, str(error)[:300])


if __name__ == "__main__":
    main()
