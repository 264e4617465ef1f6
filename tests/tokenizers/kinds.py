"""The tokenizers whose encodings are recorded: a model, and the parts around it
as tokenizer.json writes them. The patterns are those of the published families."""

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
          r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SLASH_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+"
          rf"|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}" + SLASH_TAIL)
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?"
         rf"|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}?"
         r"|\p{N}{1,3}" + SLASH_TAIL)
KIMI = (r"[\p{Han}]+|" + O200K.replace(SLASH_TAIL, TAIL)
        .replace(r"\p{M}]", r"\p{M}&&[^\p{Han}]]"))
CHATGPT = (r"(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}"
           r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
             r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+")
CJK = "[一-龥ࠀ-一가-퟿]+"
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern},
            "behavior": behavior, "invert": invert}


def string(text, behavior):
    return {"type": "Split", "pattern": {"String": text}, "behavior": behavior,
            "invert": False}


def byte_level(prefix=False, regex=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix,
            "trim_offsets": True, "use_regex": regex}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def normalizers(*parts):
    return {"type": "Sequence", "normalizers": list(parts)}


def replace(text, content, regex=False):
    return {"type": "Replace", "pattern": {"Regex" if regex else "String": text},
            "content": content}


def digits(individual):
    return {"type": "Digits", "individual_digits": individual}


def metaspace(scheme, cut=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme,
            "split": cut}


def begin(token, ids, end=False):
    special = {"SpecialToken": {"id": token, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {"type": "TemplateProcessing",
            "single": [text, special] if end else [special, text],
            "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": ids,
                                       "tokens": [token]}}}


BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
         "use_regex": True}
LLAMA_DECODER = {"type": "Sequence", "decoders": [
    replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
GEMMA_DECODER = {"type": "Sequence", "decoders": [
    replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"}]}


def on_bytes(pre, normalizer=None, post=None, **model):
    return {"model": "bytes", "options": model, "normalizer": normalizer,
            "pre_tokenizer": pre, "post_processor": post, "decoder": BYTES}


def on(model, pre, normalizer=None, decoder=None, post=None, **options):
    return {"model": model, "options": options, "normalizer": normalizer,
            "pre_tokenizer": pre, "post_processor": post, "decoder": decoder}


NFC = {"type": "NFC"}
KINDS = {
    "gpt2": on_bytes(byte_level(prefix=True, regex=True)),
    "smollm": on_bytes(sequence(digits(True), byte_level(regex=True))),
    "starcoder": on_bytes(sequence(
        digits(True), byte_level(prefix=True, regex=True))),
    "command_r": on_bytes(sequence(digits(True), byte_level(regex=True)), NFC),
    "llama3": on_bytes(
        sequence(split(LLAMA3), byte_level()),
        post={"type": "Sequence", "processors": [
            {"type": "ByteLevel", "add_prefix_space": True,
             "trim_offsets": False, "use_regex": True},
            begin("<|im_start|>", [1])]},
        ignore_merges=True),
    "qwen2": on_bytes(sequence(split(QWEN2), byte_level()), NFC),
    "qwen35": on_bytes(sequence(split(QWEN35), byte_level()), NFC),
    "granite4": on_bytes(sequence(split(LLAMA3), byte_level())),
    "deepseek_coder": on_bytes(sequence(
        split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(CJK),
        digits(True), byte_level())),
    "deepseek_llm": on_bytes(sequence(
        split(r"[\r\n]"), split(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺΑ-ώА-ҁ]+"),
        split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), split(r"\s+$"), split(CJK),
        digits(True), byte_level())),
    "deepseek_v3": on_bytes(sequence(
        split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"), split(DEEPSEEK3),
        byte_level())),
    "falcon": on_bytes(sequence(
        {"type": "Punctuation", "behavior": "Contiguous"},
        byte_level(regex=True), digits(False), split("[0-9][0-9][0-9]"))),
    "nemotron": on_bytes(sequence(split(TEKKEN), byte_level())),
    "tekken": on_bytes(sequence(split(TEKKEN), byte_level()),
                       ignore_merges=True),
    "o200k": on_bytes(sequence(split(O200K), byte_level())),
    "kimi": on_bytes(sequence(split(KIMI), byte_level())),
    "bailing": on_bytes(sequence(split(CHATGPT), byte_level())),
    "bloom": on_bytes(sequence(split(BLOOM), byte_level())),
    "fixed_length": on_bytes(sequence(
        split(r"\s+", "Removed"), {"type": "FixedLength", "length": 7},
        byte_level())),
    "merged_previous": on_bytes(sequence(
        split(r"[\s\p{P}]", "MergedWithPrevious"), byte_level())),
    "merged_next": on_bytes(sequence(
        split(r"[\s\p{P}]", "MergedWithNext"), byte_level())),
    "contiguous_inverted": on_bytes(sequence(
        split(r"[^\W\d_]", "Contiguous", invert=True), byte_level())),
    "normalizer_bytes": on(
        "bytes", {"type": "WhitespaceSplit"},
        normalizers({"type": "NFD"}, {"type": "ByteLevel"}), BYTES),
    "llama2_legacy": on(
        "llama", None,
        normalizers({"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")),
        LLAMA_DECODER, begin("<s>", [1]), byte_fallback=True, fuse_unk=True,
        unk_token="<unk>"),
    "llama2": on("llama", metaspace("first", False), None, LLAMA_DECODER,
                 begin("<s>", [1]), byte_fallback=True, fuse_unk=True,
                 unk_token="<unk>"),
    "gemma": on("llama", string(" ", "MergedWithPrevious"), replace(" ", "▁"),
                GEMMA_DECODER, byte_fallback=True, fuse_unk=True,
                unk_token="<unk>"),
    "bpe_fuse_unk": on("llama", metaspace("always"), {"type": "NFKC"},
                       metaspace("always"), fuse_unk=True, unk_token="<unk>"),
    "bpe_unk": on("llama", {"type": "Whitespace"},
                  normalizers({"type": "Strip", "strip_left": True,
                               "strip_right": True},
                              {"type": "Lowercase"}),
                  None, fuse_unk=False, unk_token="<unk>"),
    "bert_pieces": on("llama", {"type": "BertPreTokenizer"},
                      normalizers({"type": "NFKD"}, {"type": "StripAccents"}),
                      None, fuse_unk=False, unk_token="<unk>"),
    "delimiter": on("llama", sequence(
        {"type": "CharDelimiterSplit", "delimiter": "e"},
        {"type": "Punctuation", "behavior": "MergedWithNext"},
        metaspace("never")), None, metaspace("never"), byte_fallback=True),
    "t5": on("unigram", metaspace("always"), "PRECOMPILED", metaspace("always"),
             begin("</s>", [2], end=True)),
    "albert": on("unigram", metaspace("first"), "ALBERT", metaspace("first")),
    "unigram_nmt": on("unigram", sequence({"type": "WhitespaceSplit"},
                                          metaspace("always", False)),
                      normalizers({"type": "Nmt"}, {"type": "NFKC"},
                                  replace(r"\s+", " ", True)),
                      metaspace("always")),
    "unigram_bytes": on("unigram_bytes", metaspace("always", False), None,
                        LLAMA_DECODER, byte_fallback=True),
}
