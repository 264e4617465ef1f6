#!/usr/bin/env python3
"""The table of `make coverage`, from llvm-cov's JSON on the standard input.

  coverage_table.py ROOT LEAST   fails where a file has fewer per cent of lines
"""

import json
import os
import sys


def main():
    root, least = sys.argv[1], float(sys.argv[2])
    files = json.load(sys.stdin)["data"][0]["files"]
    low, lines, covered = [], 0, 0
    for file in sorted(files, key=lambda f: f["filename"]):
        count = file["summary"]["lines"]
        if count["count"] == 0:
            continue
        name = os.path.relpath(file["filename"], root)
        lines += count["count"]
        covered += count["covered"]
        mark = ""
        if count["percent"] < least:
            low.append(name)
            mark = "  below"
        print(f"{count['percent']:6.1f} %  {count['covered']:5d} of "
              f"{count['count']:5d}  {name}{mark}")
    print(f"{100 * covered / max(lines, 1):6.1f} %  {covered:5d} of "
          f"{lines:5d}  in {len(files)} files")
    if low or not lines:
        sys.exit(f"below {least:g} %: {' '.join(low) or 'everything'}")


if __name__ == "__main__":
    main()
