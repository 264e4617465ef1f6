#!/usr/bin/env python3
"""The fuzzers' corpora in the tree: files of many inputs, a line of base64 each.

  fuzz_corpus.py pack FOLDER FILE.b64   every file of FOLDER, shortest first
  fuzz_corpus.py unpack CORPUS FOLDER   what is in a corpus, for libFuzzer
"""

import base64
import hashlib
import pathlib
import sys


def pack(folder, packed):
    inputs = sorted({p.read_bytes() for p in folder.iterdir() if p.is_file()},
                    key=lambda b: (len(b), b))
    lines = [base64.b64encode(b).decode() + "\n" for b in inputs if b]
    packed.parent.mkdir(parents=True, exist_ok=True)
    packed.write_text("".join(lines))
    print(f"{packed}: {len(lines)} inputs, {packed.stat().st_size} bytes")


def unpack(corpus, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for path in corpus.iterdir():
        if path.suffix == ".b64":
            inputs = map(base64.b64decode, path.read_text().split())
        else:
            inputs = [path.read_bytes()]
        for data in inputs:
            (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def main():
    verbs = {"pack": pack, "unpack": unpack}
    if len(sys.argv) != 4 or sys.argv[1] not in verbs:
        sys.exit(__doc__)
    verbs[sys.argv[1]](pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))


if __name__ == "__main__":
    main()
