"""The text that the test vocabularies are trained on, and the strings whose
encodings are recorded. Both come from this tree, from the licences that Debian
ships, and from Unicode's tables (Python 3.11: version 14, as PCRE2 10.42)."""

import pathlib
import random
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LICENCES = ("GPL-3", "Apache-2.0", "MPL-2.0", "LGPL-2.1")

SENTENCES = """
A joiner sets walnut beside maple and lets the grain decide where the line runs.
The clock in the hall doesn't strike; it's been quiet since they've moved it.
We'll meet at 10:45 on platform 7, and I'd bring 3 sandwiches if you're hungry.
"Is that all?" she asked. "No," he said, "there's one more - and it isn't easy."
Rivers carve their valleys slowly: 1, 22, 333, 4444, 55555 years, then more.
for i in range(10):\n    total += weights[i] * x[i]\n    if total > 1.5e-3:\n        return None
int main(int argc, char** argv) {\n\tstd::vector<int> ids = {1, 2, 3};\n\treturn 0;\n}
{"role": "user", "content": "Hello, world!", "n": 42, "ok": true, "list": [1, 2.5]}
Der Zug nach Köln fährt über Düsseldorf; die Straße ist heute gesperrt.
Le garçon a mangé une crêpe près de l'église, où l'été était déjà fini.
El niño soñó con un pingüino pequeño que vivía en la montaña más alta.
Старый мост над рекой скрипел, но люди всё равно шли домой через него.
Η θάλασσα ήταν ήρεμη και ο ήλιος έλαμπε πάνω από το νησί.
春の朝、小さな駅で電車を待つ人々は静かに新聞を読んでいた。
我们在山顶看日出，天空从深蓝变成金黄色。
오늘 아침에 비가 왔지만 지금은 하늘이 맑습니다.
في الصباح الباكر فتح البائع دكانه ورتب الكتب على الرف.
सुबह की हवा ठंडी थी और बच्चे मैदान में खेल रहे थे।
ในตอนเช้าเด็กๆ เดินไปโรงเรียนด้วยกันอย่างร่าเริง
בבוקר השקט ישבה הזקנה ליד החלון וקראה ספר.
""".strip().split("\n")

WORDS = (
    "the of wood grain inlay block state token model river clock station light "
    "don't it's we'll they've I'd THEY'RE He'S l'été naïve café Zürich Straße "
    "snake_case camelCase HTTPServer C++20 x86-64 foo(bar) a[i+1] #include "
    "https://example.org/a?b=c&d=1 user@mail.org 3.14159 1,000,000 2031-02-28 "
    "12345678 1234567890123 007 ½ ⅔ ² ٣٤٥ १२३ 一二三 Ⅷ "
    "'s 'T 'ſ 'd ... !!! --- === /* */ <|im_start|> <|im_end|> <|end|> [PAD] "
    "привет θάλασσα 電車 天空 하늘 الصباح बच्चे ΑΣ ΣΑΣ İstanbul ǅ ﬁne ｆｕｌｌ "
    "e\u0301 a\u0323\u0302 \u1112\u1161\u11ab \u212b \u0958 \u1e9b\u0323 "
    "👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ☕️ ❤️ ▁ ▁▁x <unk> <s> </s> <0x41> Ġ Ċ é").split()
# Words that other programs take for special tokens wherever a vocabulary has
# them: in the strings, but not in the text to train on.
SPECIAL = {"<|im_start|>", "<|im_end|>", "<|end|>", "[PAD]", "<unk>", "<s>",
           "</s>", "<0x41>", "==="}
PLAIN_WORDS = [word for word in WORDS if word not in SPECIAL]
SPACES = [" "] * 10 + ["  ", "    ", "\n", "\n\n", "\t", "\r\n", " \n ", "\u3000",
                       "\u00a0", "\u000b", "\u0085", "\u2028", "\u180e",
                       "      ", "\t\t", "\n   ", "\u2009", "\ufeff", "\u200b"]
CODE = "abcdefxyzABC_0129 \n\t(){}[]<>=+-*/%&|^~!?.,;:'\"\\#@$`"


def scripts():
    """Runs of assigned characters in blocks of 128, by first code point."""
    blocks = {}
    for code in range(0x20, 0x110000):
        if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co"):
            blocks.setdefault(code >> 7, []).append(chr(code))
    return [block for _, block in sorted(blocks.items())]


BLOCKS = scripts()
# Most blocks are Han, Hangul and hieroglyphs; the rest gets its share.
RARE = [b for b in BLOCKS if not (0x3400 <= ord(b[0]) < 0xD7A4
                                  or ord(b[0]) >= 0x12000)]
SYMBOLS = [c for b in BLOCKS for c in b
           if unicodedata.category(c)[0] in "PS"]
MARKS = [c for b in BLOCKS for c in b if unicodedata.category(c)[0] == "M"]
NUMBERS = [c for b in BLOCKS for c in b if unicodedata.category(c)[0] == "N"]
EMOJI = [chr(c) for c in range(0x1F300, 0x1FAFF)
         if unicodedata.category(chr(c)) == "So"]


def corpus():
    """Lines to train on: mostly English and code, every script a little."""
    rng = random.Random(1)
    lines = []
    for name in LICENCES:
        path = pathlib.Path("/usr/share/common-licenses") / name
        lines += path.read_text().splitlines()
    for pattern in ("docs/*.md", "*.md", "intarsia/core/*.cc",
                    "intarsia/engine/*.h", "tools/*.py"):
        for path in sorted(ROOT.glob(pattern)):
            lines += path.read_text().splitlines()
    lines += SENTENCES * 40
    for _ in range(3000):
        lines.append(" ".join(rng.choice(PLAIN_WORDS) for _ in range(8)))
    for block in RARE:
        lines.append("".join(rng.choice(block) for _ in range(40)))
    lines += ["\n\n", "\t\t", "    ", "        "] * 50
    return [line[:500] for line in lines if line]


def make_string(rng):
    kind = rng.random()
    text = ""
    if kind < 0.30:
        for _ in range(rng.randint(1, 7)):
            text += rng.choice(WORDS) + rng.choice(SPACES)
    elif kind < 0.50:
        for _ in range(rng.randint(1, 4)):
            block = rng.choice(RARE if rng.random() < 0.8 else BLOCKS)
            text += "".join(rng.choice(block) for _ in range(rng.randint(1, 5)))
            if rng.random() < 0.4:
                text += rng.choice(SPACES)
    elif kind < 0.62:
        pool = rng.choice((SYMBOLS, MARKS, NUMBERS, EMOJI))
        for _ in range(rng.randint(1, 8)):
            text += rng.choice(pool) if rng.random() < 0.7 else rng.choice(CODE)
            if rng.random() < 0.2:
                text += rng.choice("\u200d\ufe0f\u0301 ")
    elif kind < 0.74:
        text = "".join(rng.choice(CODE) for _ in range(rng.randint(1, 40)))
    elif kind < 0.84:
        for _ in range(rng.randint(1, 6)):
            text += rng.choice(SPACES) * rng.randint(1, 3)
            if rng.random() < 0.6:
                text += rng.choice(WORDS)
    elif kind < 0.92:
        sentence = rng.choice(SENTENCES)
        begin = rng.randrange(len(sentence))
        text = sentence[begin:begin + rng.randint(5, 60)]
    else:
        # Bytes, some of them no UTF-8: cut characters, strays, overlong forms.
        data = bytearray(make_string(rng)[:40] if rng.random() < 0.8 else b"")
        for _ in range(rng.randint(1, 4)):
            at = rng.randint(0, len(data))
            data[at:at + rng.randint(0, 1)] = bytes(
                rng.choice((0x80, 0xBF, 0xC0, 0xC3, 0xE2, 0xED, 0xA0, 0xF0, 0x9F,
                            0xF4, 0x90, 0xFF, 0x00, 0x41))
                for _ in range(rng.randint(1, 3)))
        return bytes(data)
    return text.encode()


EDGES = ["", " ", "\n", "a", "'s", "  a", "a  ", "\t", "▁", "▁a", " ▁", "0" * 40,
         " " * 70 + "x", "ab" * 60, "<|im_start|>", "a <|im_end|> b", "x===y",
         "a ===  b", "#include#include #includes #include", "[PAD][PAD]",
         "\x00", "a\x00b", "\ufffd", "\n" * 20, "1 2 3", "e\u0301" * 30,
         "\u1100\u1161\u11a8" * 10, "ｅ\u0301", "㍿ ﷺ ﬃ", "a\u200db", "é▁é"]


def strings(count):
    rng = random.Random(2)
    out = [text.encode() for text in EDGES]
    out += [sentence.encode() for sentence in SENTENCES]
    seen = set(out)
    while len(out) < count:
        text = make_string(rng)
        if text not in seen:
            seen.add(text)
            out.append(text)
    return out


if __name__ == "__main__":
    made = strings(10200)
    print(len(made), sum(map(len, made)))
