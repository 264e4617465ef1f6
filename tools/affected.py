#!/usr/bin/env python3
"""affected.py BUILD LANE REVISION: the tests of a lane that the files depend on
which differ from the revision, as one regular expression for ctest -R.

What each object was compiled from is in ninja's log of dependencies, so the
folder must have been built before. "." stands for every test: where a file
changed that no compiler reads (a recorded model, CMake's files, a script).
Nothing is printed where no test depends on what changed.
"""

import json
import os
import re
import subprocess
import sys

# What no test reads.
IGNORED = re.compile(r"(\.md|^LICENSE|^\.clang|^\.git.*|^findings/.*)$")


def run(*command):
    return subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout


def changed_files(revision):
    names = run("git", "diff", "--name-only", revision).split("\n")
    names += run("git", "ls-files", "--others", "--exclude-standard").split("\n")
    return {name for name in names if name and not IGNORED.search(name)}


def read_by(build):
    """Object → the files of the tree that it was compiled from."""
    root = os.getcwd()
    objects, current = {}, None
    for line in run("ninja", "-C", build, "-t", "deps").split("\n"):
        if line.startswith("    "):
            path = os.path.normpath(os.path.join(build, line.strip()))
            current.add(os.path.relpath(path, root))
        elif ": #deps" in line:
            current = objects.setdefault(line.split(": #deps")[0], set())
    return objects


def entries(build, lane):
    """(entry, its program relative to the build) of a lane."""
    shown = run("ctest", "--test-dir", build, "-L", f"^{lane}$",
                "--show-only=json-v1")
    top = os.path.abspath(build)
    for test in json.loads(shown)["tests"]:
        program = test.get("command", [""])[0]
        inside = program.startswith(top + os.sep)
        yield test["name"], os.path.relpath(program, top) if inside else None


def main():
    build, lane, revision = sys.argv[1:4]
    changed = changed_files(revision)
    objects = read_by(build)
    read = set().union(*objects.values()) if objects else set()
    if changed - read:
        print(".")
        return
    touched = {name for name, files in objects.items() if files & changed}
    depends, chosen = {}, []
    for entry, program in entries(build, lane):
        if program is None:  # a script, of the whole build
            chosen.append(entry)
            continue
        if program not in depends:
            inputs = run("ninja", "-C", build, "-t", "inputs", program)
            depends[program] = not touched.isdisjoint(inputs.split("\n"))
        if depends[program]:
            chosen.append(entry)
    if touched and chosen:
        print("^(" + "|".join(re.escape(entry) for entry in chosen) + ")$")


if __name__ == "__main__":
    main()
