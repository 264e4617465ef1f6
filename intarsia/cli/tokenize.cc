// intarsia tokenize MODEL: what a text or a rendered chat becomes, and back.
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/cli/answer.h"
#include "intarsia/cli/command.h"
#include "intarsia/core/counted.h"
#include "intarsia/hub/model_cache.h"

namespace intarsia {
namespace {

namespace fs = std::filesystem;

struct Flags : CommonFlags {
  std::string model, text, file, system, decode;
  bool chat = false, no_special = false, plain = false, skip_special = false;
};

// The tokenizer of a model, of which no weight is read, or a tokenizer's file.
Result<std::unique_ptr<Tokenizer>> Open(const std::string& name) {
  ASSIGN_OR_RETURN(const std::string path, ResolveModel(name));
  const bool is_file = fs::is_regular_file(path);
  for (const char* ending : {".json", ".model", ".txt"}) {
    if (!is_file || !path.ends_with(ending)) continue;
    const fs::path config =
        fs::path(path).parent_path() / "tokenizer_config.json";
    return Tokenizer::FromFile(path, fs::exists(config) ? config.string() : "");
  }
  ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::Open(path));
  std::vector<std::string> warnings;
  ASSIGN_OR_RETURN(auto tokenizer, OpenTokenizer(*checkpoint, &warnings));
  WarnAll(warnings);
  if (tokenizer == nullptr) {
    return NotFound("[tokenize] " + path + " has no tokenizer");
  }
  return tokenizer;
}

// "1, 2 3" or "[1,2,3]".
Result<std::vector<int32_t>> ParseIds(const std::string& text) {
  std::vector<int32_t> ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    while (at != end &&
           std::string_view(" \t\r\n,[]").find(*at) != std::string_view::npos) {
      ++at;
    }
    if (at == end) return ids;
    int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || id < 0) {
      return InvalidArgument(
          "[tokenize] --decode takes ids apart by commas or "
          "spaces; this is none: " +
          Printable(std::string_view(at, end), 20));
    }
    ids.push_back(id);
    at = next;
  }
}

nlohmann::json ToJson(const Tokenizer& tokenizer,
                      const std::vector<int32_t>& ids,
                      const std::string& text) {
  nlohmann::json pieces = nlohmann::json::array();
  for (const int32_t id : ids) pieces.push_back(tokenizer.Token(id));
  return {{"text", text},
          {"tokens", ids},
          {"pieces", pieces},
          {"count", ids.size()}};
}

// A text as a C++ or Python program would write it, so that blanks, newlines
// and halves of characters can be seen.
std::string Quoted(std::string_view bytes) {
  std::string out = "\"";
  const bool utf8 = IsUtf8(bytes);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (byte < 32 || byte == 127 || (byte > 127 && !utf8)) {
      char hex[8];
      std::snprintf(hex, sizeof(hex), "\\x%02x", byte);
      out += hex;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

void Print(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  for (const int32_t id : ids) {
    std::printf("%8d  %s%s\n", id,
                Quoted(tokenizer.is_special(id) ? tokenizer.Token(id)
                                                : tokenizer.TokenBytes(id))
                    .c_str(),
                tokenizer.is_special(id) ? "  (special)" : "");
  }
  std::fflush(stdout);
  std::fprintf(stderr, "%s\n",
               Counted(static_cast<int64_t>(ids.size()), "token").c_str());
}

Status Decode(const Flags& flags, const Tokenizer& tokenizer) {
  std::string list = flags.decode;
  if (list == "-") {
    ASSIGN_OR_RETURN(list, ReadTextFile("-", kMostPromptBytes));
  }
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids, ParseIds(list));
  for (const int32_t id : ids) {
    if (id < tokenizer.vocab_size() && !tokenizer.Token(id).empty()) continue;
    return InvalidArgument("[tokenize] the vocabulary of " + flags.model +
                           " has no token " + std::to_string(id));
  }
  const std::string text = tokenizer.Decode(ids, flags.skip_special);
  if (flags.json) {
    PrintJson(ToJson(tokenizer, ids, text));
  } else {
    std::printf("%s\n", text.c_str());
  }
  return Status::Ok();
}

Status Encode(const Flags& flags, const Tokenizer& tokenizer) {
  std::string text = flags.text;
  if (!flags.file.empty()) {
    ASSIGN_OR_RETURN(text, ReadTextFile(flags.file, kMostPromptBytes));
  }
  if (flags.chat) {
    std::vector<ChatMessage> messages;
    if (!flags.system.empty()) messages.push_back({"system", flags.system});
    messages.push_back({"user", text});
    ASSIGN_OR_RETURN(text, RenderMessages(tokenizer, messages));
  }
  // As `generate` does it: a chat template writes its own beginning.
  const EncodeOptions options{.add_special = !flags.chat && !flags.no_special,
                              .parse_special = !flags.plain};
  ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                   tokenizer.Encode(text, options));
  if (flags.json) {
    PrintJson(ToJson(tokenizer, ids, text));
  } else {
    Print(tokenizer, ids);
  }
  return Status::Ok();
}

Status Run(const Flags& flags) {
  ASSIGN_OR_RETURN(const auto tokenizer, Open(flags.model));
  return flags.decode.empty() ? Encode(flags, *tokenizer)
                              : Decode(flags, *tokenizer);
}

}  // namespace

void AddTokenize(Verb verb) {
  auto flags = std::make_shared<Flags>();
  AddCommon(verb, flags.get());
  verb.Add("MODEL", &flags->model,
           "Folder, .gguf file, pulled model, or a tokenizer's file")
      .Required();
  Verb text = verb.OneOf("input");
  text.Add("TEXT,--prompt,-p", &flags->text, "The text");
  text.Add("--prompt-file", &flags->file,
           "The text, from a file; - is the standard input");
  text.Add("--decode", &flags->decode,
           "Ids apart by commas or spaces, to be text again; - is the "
           "standard input");
  const Argument chat = verb.Add("--chat", &flags->chat,
                                 "Put the text into the model's chat template");
  verb.Add("--system", &flags->system, "System message, with --chat")
      .Needs(chat);
  verb.Add("--no-special", &flags->no_special,
           "Without the tokens that begin and end a text");
  verb.Add("--plain", &flags->plain,
           "Names of special tokens in the text are text");
  verb.Add("--skip-special", &flags->skip_special,
           "With --decode: leave special tokens out");
  verb.Run([flags] { return Run(*flags); });
}

}  // namespace intarsia
