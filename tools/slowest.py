#!/usr/bin/env python3
"""slowest.py LIMIT BUILD...: the ten slowest files to compile and the ten
slowest tests of the builds that tools/test.sh has just run.

Times of compiling are of ninja's log: those of files that ccache had are short.
Exits 1 where a test took more than LIMIT seconds and is not labelled long.
"""

import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree


def compiles(build):
    """(seconds, object) of ninja's log, the last of each."""
    log = build / ".ninja_log"
    last = {}
    for line in log.read_text().splitlines()[1:] if log.exists() else []:
        start, end, _, output, _ = line.split("\t")
        if output.endswith(".o"):
            last[output] = (int(end) - int(start)) / 1000
    return [(seconds, output) for output, seconds in last.items()]


def tests(build):
    """(seconds, name) of the last run."""
    results = build / "results" / "ctest.xml"
    if not results.exists():
        return []
    cases = ElementTree.parse(results).iter("testcase")
    return [(float(case.get("time")), case.get("name")) for case in cases]


def long_tests(build):
    """Names of the entries that are labelled long."""
    shown = subprocess.run(
        ["ctest", "--test-dir", build, "--show-only=json-v1"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        test["name"]
        for test in json.loads(shown.stdout)["tests"]
        for one in test.get("properties", [])
        if one["name"] == "LABELS" and "long" in one["value"]
    }


def show(title, rows):
    print(title)
    for seconds, lane, name in sorted(rows, reverse=True)[:10]:
        print(f"  {seconds:6.1f} s  {lane:5} {name}")


def main():
    limit = float(sys.argv[1])
    built, ran, slow = [], [], []
    for build in map(pathlib.Path, sys.argv[2:]):
        built += [(s, build.name, name) for s, name in compiles(build)]
        of_build = tests(build)
        ran += [(s, build.name, name) for s, name in of_build]
        over = [(s, build.name, name) for s, name in of_build if s > limit]
        if over:
            allowed = long_tests(build)
            slow += [row for row in over if row[2] not in allowed]
    show("The slowest files to compile:", built)
    show("The slowest tests:", ran)
    for seconds, lane, name in slow:
        print(f"{lane}: {name} took {seconds:.0f} s, and {limit:.0f} are allowed")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
