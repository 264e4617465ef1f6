#include "intarsia/families/gguf_tokenizer.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/core/sha256.h"
#include "intarsia/tokenizer/json_components.h"
#include "intarsia/tokenizer/side_files.h"

namespace intarsia {
namespace {

using Json = nlohmann::ordered_json;  // the order of names gives added ids

class Digest {
 public:
  void Add(std::string_view text) {
    Number(text.size());
    Bytes(text.data(), text.size());
  }
  void Number(uint64_t number) { Bytes(&number, sizeof number); }
  template <typename T>
  void All(const std::vector<T>& values) {
    Number(values.size());
    Bytes(values.data(), values.size() * sizeof(T));
  }
  void All(const std::vector<std::string>& values) {
    Number(values.size());
    for (const std::string& value : values) Add(value);
  }
  void Flag(const std::optional<bool>& flag) {
    Number(flag ? (*flag ? 2 : 1) : 0);
  }
  std::string Hex() { return hash_.Hex(); }

 private:
  void Bytes(const void* data, size_t size) {
    hash_.Update({static_cast<const std::byte*>(data), size});
  }
  Sha256 hash_;
};

}  // namespace

Json ChatTemplates(const TokenizerVocab& vocab) {
  if (vocab.named_chat_templates.empty()) {
    return vocab.chat_template.empty() ? Json() : Json(vocab.chat_template);
  }
  Json list = Json::array();
  if (!vocab.chat_template.empty()) {
    list.push_back({{"name", "default"}, {"template", vocab.chat_template}});
  }
  for (const auto& [name, text] : vocab.named_chat_templates) {
    list.push_back({{"name", name}, {"template", text}});
  }
  return list;
}

Result<TokenizerVocab> ReadGgufVocab(const GgufMetadata& metadata,
                                     const std::string& source) {
  TokenizerVocab vocab;
  vocab.source = source;
  auto id = [&](const char* key, int64_t* out) -> Status {
    const std::string name = std::string("tokenizer.ggml.") + key;
    if (!metadata.Has(name)) return Status::Ok();
    ASSIGN_OR_RETURN(*out, metadata.Int(name));
    return Status::Ok();
  };
  auto flag = [&](const char* key, std::optional<bool>* out) -> Status {
    const std::string name = std::string("tokenizer.ggml.") + key;
    if (!metadata.Has(name)) return Status::Ok();
    ASSIGN_OR_RETURN(*out, metadata.Bool(name));
    return Status::Ok();
  };
  if (metadata.Has("tokenizer.ggml.tokens")) {
    ASSIGN_OR_RETURN(vocab.model, metadata.String("tokenizer.ggml.model"));
    ASSIGN_OR_RETURN(vocab.tokens, metadata.Tokens());
  }
  RETURN_IF_ERROR(id("bos_token_id", &vocab.bos_id));
  RETURN_IF_ERROR(id("eos_token_id", &vocab.eos_id));
  RETURN_IF_ERROR(id("unknown_token_id", &vocab.unk_id));
  RETURN_IF_ERROR(flag("add_bos_token", &vocab.add_bos));
  RETURN_IF_ERROR(flag("add_eos_token", &vocab.add_eos));
  for (const char* key : {"eot_token_id", "eom_token_id"}) {
    int64_t more = -1;
    RETURN_IF_ERROR(id(key, &more));
    if (more >= 0) vocab.more_eog_ids.push_back(more);
  }
  // Files of ours and of Ollama list all ends.
  if (metadata.Has(kEndIds)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> ids, metadata.Ints(kEndIds));
    // The list counts while it names the end that the key of its own names.
    if (vocab.eos_id < 0 || std::ranges::count(ids, vocab.eos_id) > 0) {
      vocab.more_eog_ids.insert(vocab.more_eog_ids.end(), ids.begin(),
                                ids.end());
    }
  }
  // GGUF's names of tokens (one is misspelt there) and those of templates.
  constexpr std::pair<const char*, const char*> kNames[] = {
      {"unknown_token_id", "unk_token"},   {"padding_token_id", "pad_token"},
      {"seperator_token_id", "sep_token"}, {"separator_token_id", "sep_token"},
      {"cls_token_id", "cls_token"},       {"mask_token_id", "mask_token"}};
  for (const auto& [key, name] : kNames) {
    int64_t named = -1;
    RETURN_IF_ERROR(id(key, &named));
    if (named >= 0) vocab.named_ids[name] = named;
  }
  if (metadata.Has("tokenizer.ggml.pre")) {
    ASSIGN_OR_RETURN(vocab.pre, metadata.String("tokenizer.ggml.pre"));
  }
  if (metadata.Has("tokenizer.ggml.token_type")) {
    ASSIGN_OR_RETURN(vocab.token_types, metadata.TokenTypes());
  }
  if (metadata.Has("tokenizer.ggml.merges")) {
    ASSIGN_OR_RETURN(vocab.merges, metadata.Merges());
  }
  if (metadata.Has("tokenizer.ggml.scores")) {
    ASSIGN_OR_RETURN(vocab.scores, metadata.Scores());
  }
  RETURN_IF_ERROR(flag("add_space_prefix", &vocab.add_space_prefix));
  RETURN_IF_ERROR(
      flag("remove_extra_whitespaces", &vocab.remove_extra_whitespaces));
  const char* charsmap = "tokenizer.ggml.precompiled_charsmap";
  if (metadata.Has(charsmap)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> bytes, metadata.Ints(charsmap));
    vocab.precompiled_charsmap.assign(bytes.begin(), bytes.end());
  }
  if (metadata.Has("tokenizer.chat_template")) {
    ASSIGN_OR_RETURN(vocab.chat_template,
                     metadata.String("tokenizer.chat_template"));
  }
  const std::string named = "tokenizer.chat_template.";  // … tool_use, rag
  for (const auto& [key, value] : metadata.values()) {
    if (key.compare(0, named.size(), named) != 0) continue;
    ASSIGN_OR_RETURN(vocab.named_chat_templates[key.substr(named.size())],
                     metadata.String(key));
  }
  return vocab;
}

Result<std::string> OwnTokenizerFile(const GgufMetadata& metadata) {
  if (metadata.Has(kHfTokenizer)) return metadata.String(kHfTokenizer);
  const auto found = metadata.values().find(kTokenizerModel);
  if (found == metadata.values().end()) return std::string();
  const GgufMetadata::Value& value = found->second;
  if (!value.array || value.type != GgufType::kU8) {
    return InvalidArgument(std::string("[tokenizer] ") + kTokenizerModel +
                           " is no array of bytes");
  }
  return std::string(reinterpret_cast<const char*>(value.payload.data()),
                     value.payload.size());
}

std::string VocabDigest(const TokenizerVocab& vocab, const std::string& own) {
  Digest digest;
  digest.Add(vocab.model);
  digest.Add(vocab.pre);
  digest.All(vocab.tokens);
  digest.All(vocab.token_types);
  digest.All(vocab.merges);
  digest.All(vocab.scores);
  digest.Add(vocab.precompiled_charsmap);
  digest.Flag(vocab.add_space_prefix);
  digest.Flag(vocab.remove_extra_whitespaces);
  digest.Add(own);
  return digest.Hex();
}

Result<bool> OwnTokenizerCounts(const GgufMetadata& metadata,
                                const TokenizerVocab& vocab,
                                const std::string& own,
                                std::vector<std::string>* warnings) {
  if (own.empty()) return false;
  if (vocab.tokens.empty()) return true;
  if (!metadata.Has(kVocabDigest)) return false;  // no file of ours
  ASSIGN_OR_RETURN(const std::string written, metadata.String(kVocabDigest));
  if (written == VocabDigest(vocab, own)) return true;
  if (warnings != nullptr) {
    warnings->push_back(
        "tokenizer.ggml.* or the tokenizer's own file in the metadata was "
        "changed after the file was written: tokenizer.ggml.* counts");
  }
  return false;
}

GgufFrame FrameOf(const Tokenizer& tokenizer, bool* whole) {
  GgufFrame frame{.bos = tokenizer.bos_id(), .eos = tokenizer.eos_id()};
  const std::vector<int32_t>& before = tokenizer.prefix();
  const std::vector<int32_t>& after = tokenizer.suffix();
  frame.add_bos = !before.empty();
  if (frame.add_bos) frame.bos = before.front();
  if (frame.eos < 0 && after.size() == 1) frame.eos = after.front();
  frame.add_eos = after.size() == 1 && after.front() == frame.eos;
  if (whole != nullptr) {
    *whole = before.size() <= 1 && after.empty() == !frame.add_eos;
  }
  return frame;
}

Result<OwnTokenizer> OpenOwnTokenizer(const GgufMetadata& metadata,
                                      const TokenizerVocab& vocab,
                                      std::string own,
                                      const std::string& source) {
  OwnTokenizer out;
  out.file = std::move(own);
  out.config = Json::object();
  const auto text = [&](const char* key) -> Result<std::string> {
    if (!metadata.Has(key)) return std::string();
    return metadata.String(key);
  };
  ASSIGN_OR_RETURN(const std::string config, text(kTokenizerConfig));
  ASSIGN_OR_RETURN(const std::string specials, text(kSpecialTokensMap));
  ASSIGN_OR_RETURN(const std::string added, text(kAddedTokens));
  if (!config.empty()) {
    out.config = Json::parse(config, nullptr, /*allow_exceptions=*/false);
    if (!out.config.is_object()) {
      return InvalidArgument("[tokenizer] " + source + ": " + kTokenizerConfig +
                             " is not a JSON object");
    }
  }
  const Json templates = ChatTemplates(vocab);
  out.config.erase("chat_template");
  if (!templates.is_null()) out.config["chat_template"] = templates;
  const auto open = [&]() -> Result<std::unique_ptr<Tokenizer>> {
    // Without any, some readers take other names for granted.
    const std::string now =
        out.config.empty()
            ? std::string()
            : out.config.dump(-1, ' ', false, Json::error_handler_t::replace);
    ASSIGN_OR_RETURN(const SideFiles sides,
                     SideFilesFromTexts(now, specials, added, source));
    return Tokenizer::FromText(out.file, sides, source);
  };
  ASSIGN_OR_RETURN(out.tokenizer, open());
  const GgufFrame own_frame = FrameOf(*out.tokenizer, nullptr);
  GgufFrame frame = own_frame;
  if (vocab.bos_id >= 0) frame.bos = vocab.bos_id;
  if (vocab.eos_id >= 0) frame.eos = vocab.eos_id;
  if (vocab.add_bos) frame.add_bos = *vocab.add_bos;
  if (vocab.add_eos) frame.add_eos = *vocab.add_eos;
  if (frame == own_frame) return out;
  out.changed = true;
  for (const auto& [name, id] :
       {std::pair("bos_token", frame.bos), std::pair("eos_token", frame.eos)}) {
    if (id < 0) continue;
    const std::string_view text = out.tokenizer->Token(static_cast<int>(id));
    if (id >= out.tokenizer->vocab_size() || text.empty()) {
      return InvalidArgument("[tokenizer] " + source + ": " + name + "_id " +
                             std::to_string(id) + " is not in the vocabulary");
    }
    out.config[name] = text;
  }
  const auto before = [](const GgufFrame& f) { return f.add_bos ? f.bos : -1; };
  const auto after = [](const GgufFrame& f) { return f.add_eos ? f.eos : -1; };
  if (before(frame) != before(own_frame) || after(frame) != after(own_frame)) {
    out.config["add_bos_token"] = frame.add_bos;
    out.config["add_eos_token"] = frame.add_eos;
    const auto token = [&](bool wanted, int64_t id) {
      const bool there = wanted && id >= 0;
      return there ? FrameToken{std::string(out.tokenizer->Token(
                                    static_cast<int32_t>(id))),
                                id}
                   : FrameToken();
    };
    out.file = WithFrame(out.file, token(frame.add_bos, frame.bos),
                         token(frame.add_eos, frame.eos));
  }
  ASSIGN_OR_RETURN(out.tokenizer, open());
  return out;
}

Result<std::unique_ptr<Tokenizer>> OpenGgufTokenizer(
    const Checkpoint& checkpoint, std::vector<std::string>* warnings) {
  const GgufMetadata& metadata = *checkpoint.gguf();
  ASSIGN_OR_RETURN(TokenizerVocab vocab,
                   ReadGgufVocab(metadata, checkpoint.path()));
  ASSIGN_OR_RETURN(std::string own, OwnTokenizerFile(metadata));
  ASSIGN_OR_RETURN(const bool counts,
                   OwnTokenizerCounts(metadata, vocab, own, warnings));
  if (counts) {
    ASSIGN_OR_RETURN(
        OwnTokenizer opened,
        OpenOwnTokenizer(metadata, vocab, std::move(own), checkpoint.path()));
    return std::move(opened.tokenizer);
  }
  if (vocab.tokens.empty()) return std::unique_ptr<Tokenizer>();
  return Tokenizer::FromVocab(std::move(vocab));
}

}  // namespace intarsia
