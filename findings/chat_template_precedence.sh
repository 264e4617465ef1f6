#!/usr/bin/env bash
# Which chat template counts where a folder has two of them: two libraries that
# read the same folders do not agree.
#
# Input: a folder that holds tokenizer.json, and
#   a) "chat_template" in tokenizer_config.json and chat_template.jinja;
#   b) "chat_template" in tokenizer_config.json and
#      additional_chat_templates/rag.jinja, without chat_template.jinja.
# Seen with transformers 5.24.0, tokenizers 0.23.3, gguf 0.19.0:
#   a) transformers takes the file, gguf's SpecialVocab (which converters to GGUF
#      use) the field;
#   b) transformers forgets the field: apply_chat_template has no default
#      template and raises, though the same folder without the additional
#      template renders.
# Expected by most: one precedence, and an additional template that adds.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" -q install transformers==5.24.0 tokenizers==0.23.3 \
  gguf==0.19.0 jinja2==3.1.6
"$tmp/v/bin/python" - "$tmp" 2> /dev/null << 'PY'
import json
import os
import sys

import gguf
import transformers
from transformers import PreTrainedTokenizerFast

root = sys.argv[1]
chat = [{"role": "user", "content": "hi"}]


def folder(name, files):
    path = os.path.join(root, name)
    os.makedirs(os.path.join(path, "additional_chat_templates"))
    words = {"<unk>": 0, "hi": 1}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"}
    with open(os.path.join(path, "tokenizer.json"), "w") as out:
        json.dump({"version": "1.0", "truncation": None, "padding": None,
                   "added_tokens": [], "normalizer": None,
                   "pre_tokenizer": {"type": "Whitespace"},
                   "post_processor": None, "decoder": None,
                   "model": model}, out)
    with open(os.path.join(path, "tokenizer_config.json"), "w") as out:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast",
                   "unk_token": "<unk>", "chat_template": "FIELD"}, out)
    for file, text in files.items():
        with open(os.path.join(path, file), "w") as out:
            out.write(text)
    return path


def rendered(path):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(path)
    try:
        return tokenizer.apply_chat_template(chat, tokenize=False)
    except ValueError as error:
        return "ValueError"


a = folder("a", {"chat_template.jinja": "FILE"})
b = folder("b", {"additional_chat_templates/rag.jinja": "RAG"})
plain = folder("plain", {})
seen = {
    "transformers, a": rendered(a),
    "gguf, a": gguf.SpecialVocab(a).chat_template,
    "transformers, b": rendered(b),
    "transformers, b without rag.jinja": rendered(plain),
}
print("transformers", transformers.__version__)
for what, value in seen.items():
    print(f"{what}: {value}")
sys.exit(list(seen.values()) != ["FILE", "FIELD", "ValueError", "FIELD"])
PY
