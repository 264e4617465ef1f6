#!/usr/bin/env python3
"""Checks that a shared library shows the functions of its header alone.

exported_symbols.py LIBRARY HEADER ABI
"""

import re
import subprocess
import sys


def output(*command):
    return subprocess.run(command, check=True, capture_output=True,
                          text=True).stdout


def main():
    library, header, abi = sys.argv[1:]
    shown = {line.split()[-1] for line in
             output("nm", "-D", "--defined-only", library).splitlines()}
    text = re.sub(r"/\*.*?\*/", "", open(header).read(), flags=re.S)
    declared = set(re.findall(r"INTARSIA_API[^;(]*?\b(intarsia_\w+)\s*\(", text))
    assert len(declared) > 10, declared
    assert shown == declared, (
        f"shown alone: {sorted(shown - declared)}, "
        f"declared alone: {sorted(declared - shown)}")
    dynamic = output("readelf", "-d", library)
    assert f"[libintarsia.so.{abi}]" in dynamic, dynamic


if __name__ == "__main__":
    main()
