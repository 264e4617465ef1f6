#!/usr/bin/env python3
"""Records how jinja2, set up as `transformers` does it, renders templates of
our own. Writes intarsia/tokenizer/testdata/chat.jsonl.gz:

  {"variables": {NAME: what a template sees}}
  {"constructs": {NAME: in how many of the renderings}}
  {"name", "template", "variables": NAME, "text" or "error"} …

Not run by the tests. Needs transformers 5, jinja2 3.1.

  python tests/chat_templates/record_templates.py [RENDER_TEMPLATES]

With the path of that program it also says where ours differs.
"""

import collections
import gzip
import json
import pathlib
import re
import subprocess
import sys

import jinja_oracle
from cases_errors import ERRORS
from cases_expressions import CALLS, EXPRESSIONS
from cases_filters import FILTERS, JSON, TESTS
from cases_methods import METHODS
from cases_spaces import SPACES
from cases_statements import STATEMENTS
from cases_talks import TALKS
from constructs import constructs
from conversations import CONVERSATIONS, variables

OUT = (pathlib.Path(__file__).resolve().parent.parent.parent / "intarsia"
       / "tokenizer" / "testdata" / "chat.jsonl.gz")

# What the small templates see.
BASE = {**variables("turns"), "tools": variables("tools_rich")["tools"],
        "x": {"n": 2, "s": "Hello", "list": [3, 1, 2],
              "deep": {"er": {"est": "found"}},
              "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [
                  {"v": 4, "c": []}]}]}, {"v": 5, "c": []}]}}


def lines(text):
    return [line for line in text.strip("\n").split("\n") if line]


def cases():
    """(name, template, name of the variables, whether jinja2 may refuse)."""
    small = [("expression", lines(EXPRESSIONS)), ("call", lines(CALLS)),
             ("filter", lines(FILTERS)), ("json", lines(JSON)),
             ("test", TESTS), ("method", lines(METHODS)),
             ("statement", STATEMENTS), ("space", SPACES)]
    for label, texts in small:
        for number, text in enumerate(texts):
            # jinja2 knows no "{% raw +%}".
            refused = label == "space" and re.search(r"raw \+%}", text)
            yield f"{label}/{number}", text, "base", bool(refused)
    for number, text in enumerate(ERRORS):
        yield f"error/{number}", text, "base", None
    for label, text in TALKS.items():
        for talk in CONVERSATIONS:
            yield f"{label}/{talk}", text, talk, True


def main(binary):
    every = {"base": BASE}
    every.update({name: variables(name) for name in CONVERSATIONS})
    records, counts = [], collections.Counter()
    for name, template, talk, may_fail in cases():
        record = {"name": name, "template": template, "variables": talk}
        text, error = jinja_oracle.render(template, every[talk])
        if error is None:
            record["text"] = text
            counts.update(constructs(template))
            if may_fail is None:
                print(f"{name}: jinja2 takes {template!r}: {text!r}")
        else:
            record["error"] = error
            if may_fail is False:
                print(f"{name}: jinja2 refuses {template!r}: {error}")
        records.append(record)
    if binary:
        compare(binary, records, every)
    rows = [{"variables": every}, {"constructs": dict(sorted(counts.items()))}]
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":"))
                   + "\n" for row in rows + records)
    with open(OUT, "wb") as file:
        with gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="",
                           compresslevel=9) as packed:
            packed.write(text.encode())
    refused = sum("error" in record for record in records)
    print(f"{len(records) - refused} renderings, {refused} refusals, "
          f"{len(counts)} constructs, {OUT.stat().st_size} bytes")


def compare(binary, records, every):
    given = "".join(json.dumps({"template": record["template"],
                                "variables": every[record["variables"]]})
                    + "\n" for record in records)
    ours = subprocess.run([binary], input=given, text=True, check=True,
                          stdout=subprocess.PIPE).stdout.split("\n")
    for record, line in zip(records, ours):
        mine = json.loads(line)
        if "error" in record:
            raised = jinja_oracle.raised(record["error"])
            same = "error" in mine and (
                raised is None or mine["error"].endswith(raised))
        else:
            same = mine.get("text") == record["text"]
        if not same:
            print(f"{record['name']}: {record['template']!r}\n"
                  f"  jinja2 {record.get('error') or record.get('text')!r}\n"
                  f"  ours   {mine.get('error') or mine.get('text')!r}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
