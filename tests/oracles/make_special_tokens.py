#!/usr/bin/env python3
"""Records what transformers makes of special and added tokens.

Writes intarsia/tokenizer/testdata/special_tokens.jsonl.gz: folders of our own,
each with the files that name tokens, and what AutoTokenizer of transformers
5.24.0 (tokenizers 0.23.3, sentencepiece 0.2.3, protobuf) gives for some texts
and for a chat template over all names. Where AutoTokenizer lets a class count
against the tokenizer's own file, the library that made the file gives the
tokens, and AutoTokenizer's stand beside them under "auto".

    pip install transformers==5.24.0 tokenizers==0.23.3 sentencepiece==0.2.3 \
        protobuf jinja2
    python tests/oracles/make_special_tokens.py
"""
import base64
import copy
import gzip
import io
import json
import os
import tempfile

import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

OUT = os.path.join(os.path.dirname(__file__),
                   "../../intarsia/tokenizer/testdata/special_tokens.jsonl.gz")
TEXTS = ["abc", "a <x>b<s>c", "<y> a<z>b</s>", "<|im_start|>user\nhi<|im_end|>",
         "<new> A<X>b", " a  b ", "a  b", "", "don't 12 34", "qQ", "<s>a</s>b<unk>", "<one><two><three>"]
TEMPLATE = ("{% for n in ['bos_token','eos_token','unk_token','sep_token',"
            "'pad_token','cls_token','mask_token','boi_token','image_token',"
            "'q','z_token','a_token'] %}{% endfor %}"
            + "".join("{%% if %s is defined %%}%s={{ %s }};{%% endif %%}" % (n, n, n)
                      for n in ["bos_token", "eos_token", "unk_token", "sep_token",
                                "pad_token", "cls_token", "mask_token", "boi_token",
                                "image_token", "q", "z_token", "a_token"])
            + "{{ messages[0].content }}")

CHARS = "abcdefghijklmnopqrstuvwxyzABCX <>/|_\n▁"


def added(i, content, **flags):
    out = {"id": i, "content": content, "single_word": False, "lstrip": False,
           "rstrip": False, "normalized": False, "special": True}
    out.update(flags)
    return out


def base():
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for c in CHARS:
        vocab[c] = len(vocab)
    for pair in ["ab", "hi"]:
        vocab[pair] = len(vocab)
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
        "normalizer": None, "pre_tokenizer": None, "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>",
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "vocab": vocab,
                  "merges": ["a b", "h i"]}}


CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>",
          "eos_token": "</s>", "unk_token": "<unk>"}
IM = ["<|im_start|>", "<|im_end|>"]


def token(content, **flags):
    out = {"content": content, "lstrip": False, "normalized": False,
           "rstrip": False, "single_word": False, "special": True}
    out.update(flags)
    return out


def json_folders():
    """name -> files of a folder with a tokenizer.json."""
    n = len(base()["model"]["vocab"])
    out = {}

    def folder(name, config=None, change=None, **files):
        root = base()
        if change:
            change(root)
        made = {"tokenizer.json": root}
        if config is not None:
            made["tokenizer_config.json"] = {**CONFIG, **config}
        made.update({f.replace("__", "."): v for f, v in files.items()})
        out[name] = made

    def tokens(*more):
        return lambda root: root["added_tokens"].extend(more)

    folder("plain", {})
    folder("no_config")
    folder("gap", {}, tokens(added(n + 20, "<x>"), added(n + 30, "<y>")))
    folder("order", {}, tokens(added(n + 5, "<x>"), added(n + 2, "<y>"),
                               added(n, "<z>")))
    folder("same_id", {}, tokens(added(n, "<x>"), added(n, "<y>")))
    folder("empty_content", {}, tokens(added(n, ""), added(n + 1, "<y>")))
    folder("twice", {}, tokens(added(n, "<x>"), added(n + 1, "<x>")))
    folder("twice_other_flags", {},
           tokens(added(n, "<x>"),
                  added(n + 1, "<x>", special=False, normalized=True,
                        lstrip=True)))
    folder("in_vocabulary", {}, tokens(added(n + 9, "hi"), added(n + 10, "<y>")))
    folder("not_special", {}, tokens(added(n, "<x>", special=False)))

    def lower(root):
        root["normalizer"] = {"type": "Lowercase"}
        root["added_tokens"] += [
            added(n, "<X>", special=False, normalized=True),
            added(n + 1, "<NEW>", normalized=True),
            added(n + 2, "<Y>")]
    folder("lower", {}, lower)

    def holes(root):
        vocab = root["model"]["vocab"]
        vocab["z"] = 100
        root["added_tokens"].append(added(101, "<x>"))
    folder("holes", {}, holes)

    def two_names(root):
        root["model"]["vocab"]["Q"] = root["model"]["vocab"]["q"]
        root["added_tokens"].append(added(n, "<x>"))
    folder("two_names", {}, two_names)

    def padding(root):
        root["padding"] = {"strategy": "BatchLongest", "direction": "Right",
                           "pad_to_multiple_of": None, "pad_id": 0,
                           "pad_type_id": 0, "pad_token": "<unk>"}
    folder("padding", {}, padding)

    def unlisted(root):
        root["added_tokens"] = []
    folder("named_in_vocabulary", {}, unlisted)
    folder("new_names", {"eos_token": "<new>", "pad_token": "<x>"})
    folder("new_names_order", {"z_token": "<z>", "a_token": "<y>",
                               "mask_token": "<x>", "pad_token": "<new>"})
    folder("empty_names", {"bos_token": "", "eos_token": ""})
    folder("null_names", {"bos_token": None, "eos_token": None,
                          "unk_token": None})
    folder("objects", {"eos_token": {"__type": "AddedToken",
                                     **token("<new>", lstrip=True)},
                       "boi_token": {"__type": "AddedToken",
                                     **token("<x>", rstrip=True)}})
    folder("own_names", {"boi_token": "</s>", "image_token": "<x>"})
    folder("extra_object", {"extra_special_tokens": {"q": "<x>",
                                                     "image_token": "<y>",
                                                     "a_token": "<s>"}})
    folder("model_specific", {"model_specific_special_tokens": {
        "q": "<y>", "image_token": "<x>"}})
    folder("model_specific_saved", {
        "boi_token": "<x>", "model_specific_special_tokens": {
            "boi_token": "<x>"}})
    folder("extra_list", {"extra_special_tokens": ["<x>", "<y>", "<s>"]})
    folder("extra_list_objects",
           {"extra_special_tokens": [{"__type": "AddedToken",
                                      **token("<x>", lstrip=True)}, "<y>"]})
    folder("additional", {"additional_special_tokens": ["<y>", "<x>"]})
    folder("additional_and_extra", {"additional_special_tokens": ["<y>"],
                                    "extra_special_tokens": ["<x>"]})
    folder("additional_and_object", {"additional_special_tokens": ["<y>"],
                                     "extra_special_tokens": {"q": "<x>"}})
    decoder = {str(i): token(c) for i, c in enumerate(["<unk>", "<s>", "</s>"])}
    folder("decoder_list", {"added_tokens_decoder": {
        **decoder, str(n): token(IM[0]), str(n + 1): token(IM[1]),
        str(n + 2): token("<x>", special=False)}})
    folder("decoder_gap", {"added_tokens_decoder": {
        **decoder, str(n + 7): token(IM[0]), str(n + 5): token(IM[1])}})
    folder("decoder_named", {"eos_token": IM[1], "added_tokens_decoder": {
        **decoder, str(n): token(IM[0], special=False),
        str(n + 1): token(IM[1], special=False)}})
    folder("decoder_flags", {"added_tokens_decoder": {
        **decoder, str(n): token("<x>", special=False, lstrip=True)}},
        tokens(added(n, "<x>")))
    folder("decoder_silences_map", {"added_tokens_decoder": decoder},
           special_tokens_map__json={"eos_token": "<s>", "pad_token": "<x>"},
           added_tokens__json={"<y>": n})
    folder("map", {}, special_tokens_map__json={
        "eos_token": "<new>", "pad_token": token("<x>", lstrip=True),
        "boi_token": "<y>"})
    folder("map_alone", None, special_tokens_map__json={
        "bos_token": "<s>", "eos_token": "</s>"})
    folder("map_additional", {}, special_tokens_map__json={
        "additional_special_tokens": ["<x>", "<y>"]})
    folder("map_extra", {"extra_special_tokens": ["<x>"]},
           special_tokens_map__json={
               "extra_special_tokens": ["<y>", {"content": "<z>",
                                                "lstrip": True}]})
    folder("map_extra_object", {}, special_tokens_map__json={
        "extra_special_tokens": {"q": "<x>"}})
    folder("added_json", {"eos_token": IM[1]},
           added_tokens__json={IM[0]: n, IM[1]: n + 1})
    folder("added_json_order", {}, added_tokens__json={"<x>": n + 1, "<y>": n})
    folder("added_json_other_ids", {},
           added_tokens__json={"<x>": n + 50, "hi": n + 60})
    folder("added_json_own", {}, tokens(added(n, "<x>", special=False)),
           added_tokens__json={"<x>": n, "<y>": n + 1})
    folder("named_not_special", {"eos_token": "<x>"},
           tokens(added(n, "<x>", special=False)))
    # What begins and ends a text: post_processor, whatever the flags say.
    def frame(root):
        def side(name, number):
            return [{"SpecialToken": {"id": "<s>", "type_id": number}},
                    {"Sequence": {"id": name, "type_id": number}}]
        root["post_processor"] = {
            "type": "TemplateProcessing", "single": side("A", 0),
            "pair": side("A", 0) + side("B", 1),
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1],
                                       "tokens": ["<s>"]}}}
    both = {"add_bos_token": True, "add_eos_token": True}
    folder("flags_without_post_processor", both)
    folder("flags_against_post_processor",
           {"add_bos_token": False, "add_eos_token": True}, frame)
    folder("flags_with_post_processor",
           {"add_bos_token": True, "add_eos_token": False}, frame)
    folder("named_not_special_decoder",
           {"eos_token": "<x>", "added_tokens_decoder": decoder},
           tokens(added(n, "<x>", special=False)))
    return out


def class_folders():
    """Folders whose tokenizer_class has steps of its own in transformers 5."""
    out = {}

    def folder(name, tokenizer_class, normalizer, pre_tokenizer, config=None,
               byte_level=False):
        root = base()
        root["normalizer"] = normalizer
        root["pre_tokenizer"] = pre_tokenizer
        if byte_level:
            letters = sorted(pre_tokenizers.ByteLevel.alphabet())
            vocab = root["model"]["vocab"]
            for letter in letters + ["12", "\u0120a"]:
                vocab.setdefault(letter, len(vocab))
            root["model"]["merges"] += ["1 2", "\u0120 a"]
            root["decoder"] = level
        else:  # as Llama's, so that no text needs the unknown token
            root["model"]["byte_fallback"] = True
            for byte in range(256):
                root["model"]["vocab"]["<0x%02X>" % byte] = len(
                    root["model"]["vocab"])
        out["class_" + name] = {
            "tokenizer.json": root,
            "tokenizer_config.json": {**CONFIG, **(config or {}),
                                      "tokenizer_class": tokenizer_class}}

    def metaspace(scheme, split=False):
        return {"type": "Metaspace", "replacement": "\u2581",
                "prepend_scheme": scheme, "split": split}

    prepend = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
    level = {"type": "ByteLevel", "add_prefix_space": False,
             "trim_offsets": True, "use_regex": True}
    digits = {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, level]}
    folder("llama_first", "LlamaTokenizerFast", None, metaspace("first"))
    folder("llama_always_legacy", "LlamaTokenizer", None, metaspace("always"),
           {"legacy": True})
    folder("llama_never", "LlamaTokenizer", None, metaspace("never"),
           {"add_prefix_space": False})
    folder("llama_always", "LlamaTokenizer", None, metaspace("always"))
    folder("llama_prepend", "LlamaTokenizer", prepend, None)
    folder("llama_prepend_legacy", "LlamaTokenizerFast", prepend, None,
           {"legacy": True})
    folder("llama_bytes", "LlamaTokenizerFast", None, digits, byte_level=True)
    folder("gpt2", "GPT2Tokenizer", None, level, byte_level=True)
    folder("gpt2_digits", "GPT2Tokenizer", None, digits, byte_level=True)
    folder("plain_digits", "PreTrainedTokenizerFast", None, digits,
           byte_level=True)
    return out


def train(**changes):
    words = ["user", "hi there", "start the end", "one two three", "a b c abc"]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words * 50), model_writer=model,
        **{"model_type": "bpe", "vocab_size": 320, "byte_fallback": True,
           "character_coverage": 1.0, "hard_vocab_limit": False,
           "remove_extra_whitespaces": False, "minloglevel": 2,
           "normalization_rule_name": "identity", **changes})
    return model.getvalue()


def sentencepiece_folders():
    model = train()
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    n = processor.get_piece_size()
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>",
              "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True,
              "add_eos_token": False}
    out = {}

    def folder(name, changes, **files):
        made = {"tokenizer.model": model,
                "tokenizer_config.json": {**config, **changes}}
        made.update({f.replace("__", "."): v for f, v in files.items()})
        out["spm_" + name] = made

    folder("plain", {})
    folder("decoder_list", {"eos_token": IM[1], "added_tokens_decoder": {
        str(n): token(IM[0]), str(n + 1): token(IM[1]),
        str(n + 2): token("<x>", special=False)}})
    folder("added_json", {}, added_tokens__json={IM[0]: n, IM[1]: n + 1})
    folder("added_json_gap", {}, added_tokens__json={IM[0]: n + 70,
                                                     IM[1]: n + 71})
    folder("added_json_map", {}, added_tokens__json={IM[0]: n, IM[1]: n + 1},
           special_tokens_map__json={"eos_token": IM[1]})
    folder("legacy", {"legacy": True}, added_tokens__json={IM[0]: n})
    folder("not_legacy", {"legacy": False}, added_tokens__json={IM[0]: n})
    folder("new_name", {"eos_token": "<new>", "pad_token": "<x>"})
    folder("add_eos", {"add_eos_token": True})
    folder("no_prefix", {"add_prefix_space": False})
    rules = os.path.join(tempfile.mkdtemp(), "rules.tsv")
    with open(rules, "w") as file:
        file.write("41\t61\n42\t62\n2019\t27\n")  # A, B, a quotation mark
    # Without a class of its own, transformers reads the file as sentencepiece.
    kinds = {
        "spaces": train(), "trimmed": train(remove_extra_whitespaces=True),
        "no_dummy": train(add_dummy_prefix=False),
        "lower": train(normalization_rule_tsv=rules,
                       remove_extra_whitespaces=True),
        "user_defined": train(user_defined_symbols=["abc", "hi t"]),
        "unigram": train(model_type="unigram", vocab_size=40,
                         byte_fallback=False)}
    for kind, pieces in kinds.items():
        out["pieces_" + kind] = {
            "tokenizer.model": pieces,
            "tokenizer_config.json": {
                **config, "tokenizer_class": "PreTrainedTokenizerFast"}}
        # And with Llama's, which leaves out what the file says.
        out["pieces_llama_" + kind] = {"tokenizer.model": pieces,
                                       "tokenizer_config.json": config}
    out["pieces_t5"] = {
        "tokenizer.model": train(model_type="unigram", vocab_size=40,
                                 byte_fallback=False, pad_id=0, eos_id=1,
                                 unk_id=2, bos_id=-1,
                                 remove_extra_whitespaces=True),
        "tokenizer_config.json": {
            "tokenizer_class": "T5Tokenizer", "eos_token": "</s>",
            "unk_token": "<unk>", "pad_token": "<pad>", "extra_ids": 0}}
    return out


def vocabulary_folders():
    """Folders of vocab.json and merges.txt, without a tokenizer.json."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(
        ["the quick user hi don't 1234"] * 9,
        trainers.BpeTrainer(
            vocab_size=290, special_tokens=["<|endoftext|>"],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    merges = "#version: 0.2\n" + "".join(
        " ".join(m) + "\n" for m in model["merges"])
    out = {}

    def folder(name, config, **files):
        made = {"vocab.json": model["vocab"], "merges.txt": merges.encode(),
                "tokenizer_config.json": config}
        made.update({f.replace("__", "."): v for f, v in files.items()})
        out["vocab_" + name] = made

    n = len(model["vocab"])
    folder("gpt2", {"tokenizer_class": "GPT2Tokenizer"})
    folder("gpt2_prefix", {"tokenizer_class": "GPT2Tokenizer",
                           "add_prefix_space": True})
    folder("gpt2_names", {"tokenizer_class": "GPT2Tokenizer",
                          "bos_token": "<s>", "pad_token": "<x>"})
    folder("gpt2_bos", {"tokenizer_class": "GPT2Tokenizer",
                        "add_bos_token": True})
    folder("gpt2_bos_eos", {"tokenizer_class": "GPT2Tokenizer",
                            "bos_token": "<s>", "add_bos_token": True,
                            "add_eos_token": True})
    folder("qwen2", {"tokenizer_class": "Qwen2Tokenizer"})
    folder("qwen2_chat", {
        "tokenizer_class": "Qwen2Tokenizer", "eos_token": IM[1],
        "added_tokens_decoder": {str(n): token(IM[0]), str(n + 1): token(IM[1])}})
    folder("qwen2_added_json", {"tokenizer_class": "Qwen2Tokenizer"},
           added_tokens__json={IM[0]: n, IM[1]: n + 1},
           special_tokens_map__json={"eos_token": IM[1]})
    return out


def own_library(folder, auto, out):
    """Tokens by the library that made the file, and AutoTokenizer's."""
    pieces = os.path.join(folder, "tokenizer.model")
    if os.path.exists(pieces):
        processor = sentencepiece.SentencePieceProcessor(model_file=pieces)
        # That library finds no special tokens in a text.
        texts = [t for t in TEXTS if "<s>" not in t and "</s>" not in t]
        first = [i for i in [processor.bos_id()] if i >= 0]
        last = [] if first else [processor.eos_id()]  # T5's
        encode = lambda text: first + processor.encode(text) + last
    else:
        library = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        texts, encode = TEXTS, lambda text: library.encode(text).ids
    if type(auto).__name__ != "T5Tokenizer":  # cuts at line ends too
        out["auto"] = [auto(text)["input_ids"] for text in texts]
    out["texts"] = [[text, encode(text), None, None] for text in texts]
    out["rendered"] = None


def record(name, files):
    with tempfile.TemporaryDirectory() as folder:
        stored = {}
        for file, value in files.items():
            if isinstance(value, bytes):
                data = value
                stored[file] = {"base64": base64.b64encode(value).decode()}
            else:
                stored[file] = json.dumps(value, ensure_ascii=False)
                data = stored[file].encode()
            with open(os.path.join(folder, file), "wb") as out:
                out.write(data)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        out = {"name": name, "files": stored, "size": len(tokenizer),
               "texts": []}
        if name.startswith(("class_", "pieces_llama", "pieces_t5")):
            own_library(folder, tokenizer, out)
            return out
        for text in TEXTS:
            # Of a space that begins a text, LlamaTokenizer makes one mark and
            # sentencepiece, as which we read a tokenizer.model, two.
            if name.startswith("spm_") and text.startswith(" "):
                continue
            ids = tokenizer(text)["input_ids"]
            row = [text, ids, tokenizer.decode(ids),
                   tokenizer.decode(ids, skip_special_tokens=True)]
            # Which text of two an id is decoded to differs from run to run.
            if name == "two_names" and "q" in text:
                row = [text, ids, None, None]
            out["texts"].append(row)
        out["rendered"] = tokenizer.apply_chat_template(
            [{"role": "user", "content": "hi"}], chat_template=TEMPLATE,
            tokenize=False)
        eos = tokenizer.eos_token
        out["eos"] = tokenizer.eos_token_id if eos else -1
        return out


def main():
    lines = [json.dumps({"template": TEMPLATE})]
    for name, files in {**json_folders(), **class_folders(),
                        **sentencepiece_folders(),
                        **vocabulary_folders()}.items():
        lines.append(json.dumps(record(name, copy.deepcopy(files)),
                                ensure_ascii=False))
    with open(OUT, "wb") as out:
        out.write(gzip.compress(("\n".join(lines) + "\n").encode(), 9, mtime=0))
    print(len(lines) - 1, "folders,", os.path.getsize(OUT), "bytes")


if __name__ == "__main__":
    main()
