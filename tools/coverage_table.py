#!/usr/bin/env python3
"""The table of `make coverage`, from llvm-cov's JSON on the standard input.

  coverage_table.py ROOT LEAST FILE...   of these files of the folder ROOT; fails
      where one has fewer per cent of lines than LEAST, or is not there
"""

import json
import os
import sys


def main():
    root, least, names = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    # The compiler names files by way of the build folder.
    counts = {os.path.relpath(file["filename"], root): file["summary"]["lines"]
              for file in json.load(sys.stdin)["data"][0]["files"]}
    low, lines, covered = [], 0, 0
    for name in sorted(names):
        count = counts.get(name)
        if count is None:
            low.append(name + " (not measured)")
            continue
        lines += count["count"]
        covered += count["covered"]
        mark = ""
        if count["percent"] < least:
            low.append(name)
            mark = "  below"
        print(f"{count['percent']:6.1f} %  {count['covered']:5d} of "
              f"{count['count']:5d}  {name}{mark}")
    print(f"{100 * covered / max(lines, 1):6.1f} %  {covered:5d} of "
          f"{lines:5d}  in {len(names)} files")
    if low or not lines:
        sys.exit(f"below {least:g} %: {' '.join(low) or 'everything'}")


if __name__ == "__main__":
    main()
