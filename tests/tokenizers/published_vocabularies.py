#!/usr/bin/env python3
"""Compares our encodings with the `tokenizers` library's (tokenizer.json) or
sentencepiece's (tokenizer.model) for vocabularies that the user names, on the
strings of the recorded tests. Needs those libraries.

  make test-published-vocabularies FILES="a/tokenizer.json b/tokenizer.model"
"""

import gzip
import pathlib
import subprocess
import sys
import tempfile

STRINGS = pathlib.Path(__file__).resolve().parent / "data" / "strings.bin.gz"


def library(path):
    if path.endswith(".json"):
        import tokenizers
        tokenizer = tokenizers.Tokenizer.from_file(path)
        return (lambda text: tokenizer.encode(
                    text, add_special_tokens=False).ids,
                lambda ids: tokenizer.decode(ids, skip_special_tokens=False))
    import sentencepiece
    processor = sentencepiece.SentencePieceProcessor(model_file=path)
    return processor.encode, processor.decode


def compare(binary, path):
    packed = gzip.open(STRINGS).read()
    encode, decode = library(path)
    with tempfile.NamedTemporaryFile() as file:
        file.write(packed)
        file.flush()
        # sentencepiece never looks for special tokens in a text.
        plain = [] if path.endswith(".json") else ["plain"]
        ours = subprocess.run([binary, path, file.name, *plain], text=True,
                              capture_output=True, check=False)
    if ours.returncode:
        print(f"{path}: {ours.stderr.strip()}")
        return False
    lines, at, wrong, texts, count = ours.stdout.splitlines(), 0, 0, 0, 0
    while at < len(packed):
        size = int.from_bytes(packed[at:at + 2], "little")
        text = packed[at + 2:at + 2 + size].decode("utf-8", "replace")
        at += 2 + size
        ids = encode(text)
        mine = [int(i) for i in lines[2 * count].split()]
        if mine != ids:
            wrong += 1
            if wrong <= 3:
                print(f"  {text!r}\n    library {ids}\n    ours    {mine}")
        elif bytes.fromhex(lines[2 * count + 1]) != decode(ids).encode():
            texts += 1
        count += 1
    print(f"{path}: {count - wrong} of {count} encodings equal, {texts} of "
          "those decoded to another text")
    return wrong == 0


if __name__ == "__main__":
    results = [compare(sys.argv[1], path) for path in sys.argv[2:]]
    sys.exit(0 if results and all(results) else 1)
