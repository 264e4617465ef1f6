// PreTokenizer::FromName: the names that GGUF files give in tokenizer.ggml.pre,
// and the patterns of the published tokenizers that they stand for. llama.cpp
// has approximations for some (it knows no cases of letters beyond ASCII and no
// marks): tekken, gpt-4o, kimi-k2, tiny_aya, youtu and DeepSeek's first two
// give here what the `tokenizers` library gives for the published pattern.
#include <algorithm>
#include <array>
#include <iterator>

#include "intarsia/tokenizer/pre_tokenizer.h"

namespace intarsia {

const char* const kGpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
    "\\s+(?!\\S)|\\s+";

namespace {

constexpr const char* kDigit = "\\p{N}";
constexpr const char* kDigits = "\\p{N}+";
constexpr const char* kThreeDigits = "\\p{N}{1,3}";
constexpr const char* kAsciiThree = "[0-9][0-9][0-9]";
constexpr const char* kGroupedDigits = "\\d{1,3}(?=(?:\\d{3})*\\b)";
constexpr const char* kBeforeThrees = "\\d{1,3}(?=(?:\\d{3})*(?!\\d))";
constexpr const char* kNewline = "[\\r\\n]";
constexpr const char* kLines = "[^\\n]+|[\\n]+";
constexpr const char* kSpacesAtEnd = "\\s+\\z";
constexpr const char* kSpaceLetters = "\\s?\\p{L}+";
constexpr const char* kSpacePunctuation = "\\s?\\p{P}+";
constexpr const char* kDefaultPunctuation = "[\\p{P}\\$\\+<=>\\^~\\|]+";
constexpr const char* kFalconPunctuation = "[\\p{P}\\$\\+<=>\\^~\\|`]+";
constexpr const char* kPunctuation = "[\\p{P}!-/:-@\\[-`{-~]";
constexpr const char* kSentinel = "<sentinel:[0-9]+>";
constexpr const char* kImageToken = "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z";
constexpr const char* kTabs = "([\\t\\n]|    |  )";
constexpr const char* kLlama3 =
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n"
    "\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kQwen2 =
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n"
    "\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*["
    "\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kQwen35 =
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n"
    "\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+["
    "\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kUfakzeka =
    "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]"
    "*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kMiniCpm =
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n"
    "\\p{L}\\p{N}]?\\p{L}+|\\p{N}+| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*["
    "\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kJais2 =
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n"
    "\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{"
    "64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\"
    "S)|\\s{1,2}(?!\\S)|\\s{1}";
constexpr const char* kTekken =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll"
    "}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{L"
    "m}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{"
    "L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kGpt4o =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll"
    "}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L"
    "}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{L"
    "o}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}"
    "\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kYoutu =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll"
    "}\\p{Lm}\\p{Lo}\\p{M}]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'["
    "lL][lL]|'[dD])?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo"
    "}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?:'[sS]|'[tT]|'[rR][eE]|'["
    "vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\"
    "n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kKimiK2 =
    "\\p{Han}+|[^\\r\\n\\p{L}\\p{N}]?(?:(?!\\p{Han})[\\p{Lu}\\p{Lt}\\p{"
    "Lm}\\p{Lo}\\p{M}])*(?:(?!\\p{Han})[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}])+("
    "?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\\r\\n"
    "\\p{L}\\p{N}]?(?:(?!\\p{Han})[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}])"
    "+(?:(?!\\p{Han})[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}])*(?:'[sS]|'[tT]|'[rR"
    "][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\\p{N}{1,3}| ?[^\\s\\p{L}"
    "\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kDeepSeek3 =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{"
    "L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\"
    "r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kSpark =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{"
    "L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!"
    "\\S)|\\s+";
constexpr const char* kBailing =
    "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\\r\\n\\p{L}\\p{N}]?"
    "\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!"
    "\\S)|\\s+";
constexpr const char* kSeedCoder =
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n"
    "\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*["
    "\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr const char* kExaoneMoe =
    "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r\\n"
    "\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s"
    "\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";
constexpr const char* kCjk3 =
    "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+";
constexpr const char* kDeepSeekCjk =
    "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+";
constexpr const char* kDeepSeekLetters =
    "\\s?[A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}"
    "\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}"
    "\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}"
    "\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-"
    "\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}"
    "\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-"
    "\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}"
    "\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-"
    "\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-"
    "\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-"
    "\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}"
    "\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-"
    "\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}"
    "\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}"
    "\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}"
    "\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-"
    "\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}"
    "\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-"
    "\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}"
    "\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}"
    "\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}]+";
constexpr const char* kDeepSeekPunctuation =
    "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201"
    "f}\\x{3000}-\\x{3002}]+";
constexpr const char* kBloom =
    " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}"
    "\\x{60c})]+";
constexpr const char* kYoutuScripts =
    "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{2"
    "01c}\\x{201d}\\x{2018}\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c"
    "}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|[\\x{3105}-\\x{312f}]+|["
    "\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+";

struct Entry {
  const char* name;
  std::array<const char*, 6> patterns;  // those set, in order
  NamedPreTokenizer rest;
};
const Entry kNamed[] = {
    {"gpt-2", {kGpt2Pattern}, {false, false, true}},
    {"gpt2", {kGpt2Pattern}, {false, false, true}},
    {"phi-2", {kGpt2Pattern}, {false, false, true}},
    {"jina-es", {kGpt2Pattern}, {false, false, true}},
    {"jina-de", {kGpt2Pattern}, {false, false, true}},
    {"gigachat", {kGpt2Pattern}, {false, false, true}},
    {"jina-v2-es", {kGpt2Pattern}, {false, false, true}},
    {"jina-v2-de", {kGpt2Pattern}, {false, false, true}},
    {"a.x-4.0", {kGpt2Pattern}, {false, false, true}},
    {"mellum", {kGpt2Pattern}, {false, false, true}},
    {"modern-bert", {kGpt2Pattern}, {false, false, true}},
    {"jina-v1-en", {kGpt2Pattern}, {false, false, true}},
    {"jina-v2-code", {kGpt2Pattern}, {false, false, true}},
    {"roberta-bpe", {kGpt2Pattern}, {false, false, true}},
    {"mpt", {kGpt2Pattern}, {false, false, true}},
    {"olmo", {kGpt2Pattern}, {false, false, true}},
    {"jais", {kGpt2Pattern}, {false, false, true}},
    {"trillion", {kGpt2Pattern}, {false, false, true}},
    {"granite-docling", {kGpt2Pattern}, {false, false, true}},
    {"exaone4", {kGpt2Pattern}, {false, false, true}},
    {"smollm", {kDigit, kGpt2Pattern}, {false, false, true}},
    {"starcoder", {kDigit, kGpt2Pattern}, {false, false, true}},
    {"refact", {kDigit, kGpt2Pattern}, {false, false, true}},
    {"command-r", {kDigit, kGpt2Pattern}, {false, false, true}},
    {"codeshell", {kDigit, kGpt2Pattern}, {false, false, true}},
    {"exaone", {kDigit, kGpt2Pattern}, {false, false, true}},
    {"minerva-7b", {kDigit, kGpt2Pattern}, {false, false, true}},
    {"mellum2", {kDigit, kGpt2Pattern}, {false, false, true}},
    {"llama-bpe", {kLlama3}, {true, true, true}},
    {"llama3", {kLlama3}, {true, true, true}},
    {"llama-v3", {kLlama3}, {true, true, true}},
    {"falcon3", {kLlama3}, {true, true, true}},
    {"falcon-h1", {kLlama3}, {true, true, true}},
    {"pixtral", {kLlama3}, {true, true, true}},
    {"midm-2.0", {kLlama3}, {true, true, true}},
    {"lfm2", {kLlama3}, {true, true, true}},
    {"jina-v5-nano", {kLlama3}, {true, true, true}},
    {"smaug-bpe", {kLlama3}, {false, false, true}},
    {"dbrx", {kLlama3}, {false, false, true}},
    {"glm4", {kLlama3}, {false, false, true}},
    {"chatglm-bpe", {kLlama3}, {false, false, true}},
    {"jais-2", {kJais2}, {false, false, true}},
    {"qwen2", {kQwen2}, {false, false, true}},
    {"stablelm2", {kQwen2}, {false, false, true}},
    {"deepseek-r1-qwen", {kQwen2}, {false, false, true}},
    {"kormo", {kQwen2}, {false, false, true}},
    {"f2llmv2", {kQwen2}, {false, false, true}},
    {"megrez", {kQwen2}, {false, false, true}},
    {"hunyuan", {kQwen2}, {false, false, true}},
    {"grok-2", {kQwen2}, {false, false, true}},
    {"solar-open", {kQwen2}, {false, false, true}},
    {"qwen35", {kQwen35}, {false, false, true}},
    {"deepseek-llm",
     {kNewline, kDeepSeekLetters, kDeepSeekPunctuation, kSpacesAtEnd,
      kDeepSeekCjk, kDigits},
     {false, false, true}},
    {"deepseek-coder",
     {kNewline, kSpaceLetters, kSpacePunctuation, kDeepSeekCjk, kDigit},
     {false, false, true}},
    {"deepseek-v3", {kThreeDigits, kCjk3, kDeepSeek3}, {false, false, true}},
    {"hunyuan-dense", {kThreeDigits, kCjk3, kDeepSeek3}, {false, false, true}},
    {"joyai-llm", {kThreeDigits, kCjk3, kDeepSeek3}, {false, false, true}},
    {"hy_v4", {kThreeDigits, kCjk3, kDeepSeek3}, {false, false, true}},
    {"spark2_5", {kThreeDigits, kCjk3, kSpark, kDigit}, {false, false, true}},
    {"youtu", {kYoutuScripts, kYoutu}, {true, false, true}},
    {"falcon",
     {kFalconPunctuation, kGpt2Pattern, kAsciiThree},
     {false, false, true}},
    {"default",
     {kDefaultPunctuation, kGpt2Pattern, kDigits, kAsciiThree},
     {false, false, true}},
    {"poro-chat", {kBloom}, {false, false, true}},
    {"bloom", {kBloom}, {false, false, true}},
    {"gpt3-finnish", {kBloom}, {false, false, true}},
    {"viking", {kBloom, kDigit}, {false, false, true}},
    {"tekken", {kTekken}, {true, true, true}},
    {"chameleon",
     {kSentinel, kImageToken, kTabs, kDigit, kPunctuation, kGpt2Pattern},
     {false, true, true}},
    {"gpt-4o", {kGpt4o}, {false, false, true}},
    {"llama4", {kGpt4o}, {false, false, true}},
    {"kanana2", {kGpt4o}, {false, false, true}},
    {"talkie", {kGpt4o}, {false, false, true}},
    {"minimax-m2", {kGpt4o}, {false, false, true}},
    {"granite-embed-multi-97m", {kGpt4o}, {true, false, true}},
    {"tiny_aya", {kGroupedDigits, kGpt4o}, {false, false, true}},
    {"cohere2moe", {kGroupedDigits, kGpt4o}, {false, false, true}},
    {"kimi-k2", {kKimiK2}, {false, false, true}},
    {"superbpe", {kDigits, kBeforeThrees}, {false, false, true}},
    {"bailingmoe", {kBailing}, {false, false, true}},
    {"bailingmoe2", {kBailing}, {false, false, true}},
    {"llada-moe", {kBailing}, {false, false, true}},
    {"seed-coder", {kSeedCoder}, {false, false, true}},
    {"ufakzeka", {kUfakzeka}, {false, false, true}},
    {"laguna", {kLines, kQwen2}, {false, false, true}},
    {"exaone-moe", {kExaoneMoe}, {false, false, true}},
    {"minicpm5", {kThreeDigits, kMiniCpm}, {true, false, true}},
};

}  // namespace

const std::vector<PreTokenizerName>& PreTokenizerNames() {
  static const auto* const names = [] {
    auto* out = new std::vector<PreTokenizerName>;
    for (const Entry& entry : kNamed) {
      PreTokenizerName& name = out->emplace_back();
      name.name = entry.name;
      name.rest = entry.rest;
      for (const char* pattern : entry.patterns) {
        if (pattern != nullptr) name.patterns.emplace_back(pattern);
      }
    }
    return out;
  }();
  return *names;
}

Result<PreTokenizer> PreTokenizer::FromName(std::string_view name,
                                            NamedPreTokenizer* named) {
  const auto* entry =
      std::find_if(std::begin(kNamed), std::end(kNamed),
                   [&](const Entry& e) { return e.name == name; });
  if (entry == std::end(kNamed)) {
    std::string known;
    for (const Entry& e : kNamed) known += std::string(" ") + e.name;
    return Unsupported("unknown pre-tokenizer \"" + std::string(name) +
                       "\" (known:" + known + ")");
  }
  PreTokenizer result;
  for (const char* pattern : entry->patterns) {
    if (pattern == nullptr) break;
    RETURN_IF_ERROR(result.AddSplit(pattern, SplitBehavior::kIsolated));
  }
  result.byte_level_ = entry->rest.bytes;
  *named = entry->rest;
  return result;
}

}  // namespace intarsia
