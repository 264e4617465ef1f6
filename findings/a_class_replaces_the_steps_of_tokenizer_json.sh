#!/usr/bin/env bash
# AutoTokenizer of transformers 5.24.0 leaves "normalizer" and "pre_tokenizer" of
# a tokenizer.json out where tokenizer_config.json names a class that has steps
# of its own (GPT2Tokenizer, LlamaTokenizer, ...), and says nothing. Published
# models name GPT2Tokenizer and cut numbers into digits by their file. Seen, for
# a file with Digits before ByteLevel: "12" is one token for GPT2Tokenizer, two
# for PreTrainedTokenizerFast and for the tokenizers library (0.23.3).
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/v"
"$work/v/bin/pip" install -q transformers==5.24.0 tokenizers==0.23.3
FOLDER="$work/m" "$work/v/bin/python" - <<'PY'
import json
import os
from tokenizers import Tokenizer
from transformers import AutoTokenizer
folder = os.environ["FOLDER"]
os.mkdir(folder)
level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
         "use_regex": True}
with open(folder + "/tokenizer.json", "w") as file:
    json.dump({
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True}, level]},
        "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False,
                  "vocab": {"1": 0, "2": 1, "12": 2, "<e>": 3},
                  "merges": [["1", "2"]]}}, file)
seen = {}
for name in ["GPT2Tokenizer", "PreTrainedTokenizerFast"]:
    with open(folder + "/tokenizer_config.json", "w") as file:
        json.dump({"tokenizer_class": name, "bos_token": "<e>",
                   "eos_token": "<e>", "unk_token": "<e>"}, file)
    seen[name] = AutoTokenizer.from_pretrained(folder)("12")["input_ids"]
seen["tokenizers"] = Tokenizer.from_file(folder + "/tokenizer.json").encode("12").ids
print(seen)
assert seen == {"GPT2Tokenizer": [2], "PreTrainedTokenizerFast": [0, 1],
                "tokenizers": [0, 1]}, seen
PY
