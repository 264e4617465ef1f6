#!/usr/bin/env python3
"""Checks that folders include only those below them, and rooms only doors.

The order of FOLDERS is the order of docs/architecture.md. A folder may include
itself and any folder of a lower rank; `formats/weight.h` and the other contract
headers are ordinary headers of their folders. A room (a folder below ops,
mixers, channel_mixers or formats) may include another room's door header alone.
"""

import pathlib
import re
import sys

RANKS = {
    "core": 0,
    "cuda": 1,
    "formats": 1,
    "cache": 1,
    "checkpoint": 1,
    "tokenizer": 1,
    "autograd": 2,
    "hub": 2,
    "distributed": 3,
    "ops": 4,
    "mixers": 5,
    "channel_mixers": 6,
    "wiring": 7,
    "model": 8,
    "families": 9,
    "engine": 9,
    "eval": 10,
    "convert": 10,
    "c_api": 11,
    "cli": 11,
}
# Leaves of equal rank that must not know each other are listed here.
FORBIDDEN = {("engine", "families"), ("families", "engine")}
ROOMS = {"ops", "mixers", "channel_mixers", "formats"}
SHARED = {"common", "conformance"}
INCLUDE = re.compile(r'^\s*#include "(intarsia/[^"]+)"', re.M)
SUFFIXES = {".cc", ".h", ".cu", ".cuh"}


def room_of(parts):
    return parts[2] if parts[1] in ROOMS and len(parts) > 3 else None


def check(path, target):
    """The reason why `path` may not include `target`, or None."""
    here, there = path.parts, pathlib.PurePath(target).parts
    a, b = here[1], there[1]
    test = here[-1].endswith(("_test.cc", "_fuzz.cc")) or "conformance" in here
    if b not in RANKS:
        return f"folder {b} has no rank"
    if a != b and not test and (RANKS[b] > RANKS[a] or (a, b) in FORBIDDEN):
        return f"{a} must not know {b}"
    room, other = room_of(here), room_of(there)
    if other is None or room == other and a == b or other in SHARED or test:
        return None
    stem = pathlib.PurePath(there[-1]).stem
    if stem != other and not stem.startswith("sm90_"):
        return f"{there[-1]} is not the door of {b}/{other}"
    return None


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    problems = []
    for path in sorted((root / "intarsia").rglob("*")):
        if path.suffix not in SUFFIXES:
            continue
        relative = path.relative_to(root)
        if relative.parts[1] not in RANKS:
            problems.append(f"{relative}: folder has no rank")
            continue
        for target in INCLUDE.findall(path.read_text()):
            if len(pathlib.PurePath(target).parts) < 3:
                continue
            reason = check(relative, target)
            if reason:
                problems.append(f"{relative}: {target}: {reason}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
