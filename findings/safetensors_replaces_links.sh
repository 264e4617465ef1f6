#!/usr/bin/env bash
# safetensors 0.8.0 (Python): save_file writes beside the path and renames.
#
# So a symbolic link becomes a regular file and what it led to stays as it was,
# the other names of a file keep the old tensors, and whatever the umask and the
# permissions of an older file, the new one is readable by its owner alone
# (0600). Writers that open the path itself do none of the three. Seen with
# 0.8.0; fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q safetensors==0.8.0 numpy==2.2.6
cd "$work"
venv/bin/python - <<'PYTHON'
import os
import stat
import sys

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file


def first(path):
    return float(load_file(path)["x"][0])


def mode(path):
    return oct(stat.S_IMODE(os.stat(path).st_mode))


os.umask(0o022)
save_file({"x": np.zeros(2, np.float32)}, "file")
fresh = mode("file")
os.chmod("file", 0o664)
os.symlink("file", "link")
os.link("file", "name")
save_file({"x": np.ones(2, np.float32)}, "link")
kept = os.path.islink("link")
target, written = first("file"), first("link")
save_file({"x": np.ones(2, np.float32)}, "file")
print("safetensors", safetensors.__version__)
print("a new file has", fresh, "and one that had 0o664 has", mode("file"))
print("the link is still one:", kept, "- its target holds", target,
      "and the path", written)
print("the file's other name holds", first("name"))
same = (fresh == "0o600" and mode("file") == "0o600" and not kept
        and (target, written, first("name")) == (0.0, 1.0, 0.0))
sys.exit(0 if same else 1)
PYTHON
