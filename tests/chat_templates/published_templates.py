#!/usr/bin/env python3
"""Compares our renderings with jinja2's (as `transformers` sets it up) for
templates that the user names, over the conversations of conversations.py.
Equal is: the same text, or refused by both and, where the template itself
raises, with the same message. Needs transformers and jinja2, gguf for .gguf.

  make test-published-templates FILES="a.jinja tokenizer_config.json b.gguf"
"""

import collections
import json
import subprocess
import sys

import conversations
import jinja_oracle


def templates(path):
    """The (name, text) pairs of a file."""
    if path.endswith(".gguf"):
        import gguf
        for name, field in gguf.GGUFReader(path).fields.items():
            if (name.startswith("tokenizer.chat_template")
                    and not name.endswith("chat_templates")):
                yield path + ":" + name, field.contents()
        return
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    if not path.endswith(".json"):
        yield path, text
        return
    found = json.loads(text).get("chat_template")
    if isinstance(found, str):
        yield path, found
    for entry in found if isinstance(found, list) else []:
        yield f"{path}:{entry['name']}", entry["template"]


def cases(paths):
    for path in paths:
        for name, text in templates(path):
            for talk in conversations.CONVERSATIONS:
                yield name, text, talk


def judge(expected, error, ours):
    if error is None:
        return "equal" if ours.get("text") == expected else "unequal"
    if "error" not in ours:
        return "only jinja2 refuses"
    message = jinja_oracle.raised(error)
    if message is not None and not ours["error"].endswith(message):
        return "refused with another message"
    return "both refuse"


def main(binary, paths):
    all_cases = list(cases(paths))
    lines = "".join(
        json.dumps({"template": text,
                    "variables": conversations.variables(talk)}) + "\n"
        for _, text, talk in all_cases)
    ours = subprocess.run([binary], input=lines, text=True, check=True,
                          stdout=subprocess.PIPE).stdout.split("\n")
    totals = collections.Counter()
    wrong = collections.Counter()
    names = set()
    for (name, text, talk), line in zip(all_cases, ours):
        names.add(name)
        mine = json.loads(line)
        expected, error = jinja_oracle.render(
            text, conversations.variables(talk))
        verdict = judge(expected, error, mine)
        totals[verdict] += 1
        if verdict not in ("equal", "both refuse"):
            wrong[name] += 1
            if wrong[name] <= 3:
                print(f"{name} over {talk}: {verdict}\n"
                      f"  jinja2 {error or expected!r}\n"
                      f"  ours   {mine.get('error') or mine.get('text')!r}")
    print(f"{len(names)} templates, {len(all_cases)} renderings: "
          + ", ".join(f"{n} {what}" for what, n in totals.most_common())
          + f"; {len(names) - len(wrong)} templates equal throughout")
    return not wrong and bool(names)


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1], sys.argv[2:]) else 1)
