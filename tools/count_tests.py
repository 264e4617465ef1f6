#!/usr/bin/env python3
"""Prints "PASSED FAILED" of a folder of results that tools/test.sh wrote.

Each entry of a GoogleTest program leaves NAME.json with its cases. ctest.xml says how the
programs ended: one that crashed, timed out or was never started counts as one
failure, and so does one that failed although none of its cases did.
"""

import json
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def main():
    folder = pathlib.Path(sys.argv[1])
    passed = failed = 0
    for case in ElementTree.parse(folder / "ctest.xml").iter("testcase"):
        bad = 0
        file = folder / f"{case.get('name')}.json"
        if file.exists():
            result = json.loads(file.read_text())
            for suite in result["testsuites"]:
                for test in suite["testsuite"]:
                    if test.get("result") != "COMPLETED":
                        continue
                    bad += "failures" in test
                    passed += "failures" not in test
        elif case.get("status") == "run":
            passed += 1
        if case.get("status") != "run":
            bad = max(bad, 1)
        failed += bad
    print(passed, failed)


if __name__ == "__main__":
    main()
