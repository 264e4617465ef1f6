#include "intarsia/tokenizer/special_tokens.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "intarsia/tokenizer/bpe_builder.h"
#include "intarsia/tokenizer/json_fields.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

// In the order in which new ones get their ids.
constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token",
                                  "sep_token", "pad_token", "cls_token",
                                  "mask_token"};

constexpr int kMostWarnings = 10;

bool IsUsualName(const std::string& name) {
  return std::ranges::find(kNames, name) != std::end(kNames);
}

bool IsToken(const Json& spec) {
  return spec.is_string() || (spec.is_object() && spec.contains("content") &&
                              spec["content"].is_string());
}

const Json* Find(const SideFile& file, const std::string& name) {
  if (!file.json.is_object()) return nullptr;
  const auto field = file.json.find(name);
  return field == file.json.end() ? nullptr : &*field;
}

class SpecialTokens {
 public:
  SpecialTokens(const SideFiles& files, const Json& own_added,
                const UsualSpecialTokens& usual, TokenizerBuilder* builder)
      : files_(files),
        own_added_(own_added),
        usual_(usual),
        builder_(*builder) {}

  Status Read() {
    RETURN_IF_ERROR(In(files_.config, [&] { return ReadNames(false); }));
    RETURN_IF_ERROR(
        In(files_.special_tokens_map, [&] { return ReadNames(true); }));
    for (const auto& [name, text] : usual_.names) {
      if (places_.contains(name) || silenced_.contains(name)) continue;
      AddedToken token;
      token.content = text;
      token.special = true;
      token.normalized = false;
      SetName(name, std::move(token));
    }
    for (const auto& [name, token] : names_) special_.insert(token.content);
    const std::set<std::string> named = special_;
    for (const AddedToken& token : extra_) special_.insert(token.content);
    std::ranges::stable_sort(names_, {}, [](const auto& named) {
      return std::ranges::find(kNames, named.first) - std::begin(kNames);
    });
    RETURN_IF_ERROR(AddListed(named));
    for (auto& [name, token] : names_) {
      if (token.content.empty() || builder_.IsAdded(token.content)) continue;
      if (builder_.Find(token.content) < 0 && ++new_names_ <= kMostWarnings) {
        builder_.Warn(name + " \"" + token.content +
                      "\" is not in the vocabulary; it becomes a token after "
                      "the last one");
      }
      RETURN_IF_ERROR(builder_.AddAddedToken(token));
    }
    for (AddedToken& token : extra_) {
      if (builder_.IsAdded(token.content)) continue;
      RETURN_IF_ERROR(builder_.AddAddedToken(std::move(token)));
    }
    for (const auto& [name, token] : names_) {
      builder_.SetNamedToken(name, token.content);
    }
    return In(files_.config, [&] { return SetFrame(); });
  }

 private:
  using Named = std::vector<std::pair<std::string, AddedToken>>;

  // Runs `read`, whose errors are those of a file.
  template <typename Read>
  static Status In(const SideFile& file, const Read& read) {
    const Status status = read();
    return status.ok() || file.source.empty()
               ? status
               : TokenizerError(file.source, status);
  }

  void SetName(const std::string& name, AddedToken token) {
    const auto [place, is_new] = places_.try_emplace(name, names_.size());
    if (is_new) {
      names_.emplace_back(name, std::move(token));
    } else {
      names_[place->second].second = std::move(token);
    }
  }

  // The names of one file, and its tokens that have none.
  Status ReadNames(bool is_map) {
    const SideFile& file = is_map ? files_.special_tokens_map : files_.config;
    if (!file.json.is_object()) return Status::Ok();
    for (const std::string name : kNames) {
      const Json* spec = Find(file, name);
      if (spec == nullptr) continue;
      if (spec->is_null()) {
        silenced_.insert(name);
        continue;
      }
      ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken(*spec, true, name));
      token.special = true;
      SetName(name, std::move(token));
    }
    for (const std::string& name : file.names) {
      const Json* spec = Find(file, name);
      if (IsUsualName(name) || spec == nullptr || !IsToken(*spec)) continue;
      ASSIGN_OR_RETURN(AddedToken token, ReadAddedToken(*spec, true, name));
      token.special = true;
      SetName(name, std::move(token));
    }
    return ReadExtra(file);
  }

  Status ReadExtra(const SideFile& file) {
    const std::string field = "extra_special_tokens";
    const Json* extra = Find(file, field);
    bool listed = false;
    if (extra != nullptr && extra->is_object()) {
      RETURN_IF_ERROR(ReadObject(*extra, file.extra_names, field));
    } else if (extra != nullptr && !extra->is_null()) {
      listed = !extra->empty();
      RETURN_IF_ERROR(ReadList(*extra, field));
    }
    // As transformers 5 writes names of the model's own once more.
    const std::string own = "model_specific_special_tokens";
    if (const Json* names = Find(file, own); names != nullptr) {
      RETURN_IF_ERROR(ReadObject(*names, file.extra_names, own));
    }
    const Json* old = Find(file, "additional_special_tokens");
    if (listed || old == nullptr || old->is_null()) return Status::Ok();
    return ReadList(*old, "additional_special_tokens");
  }

  // An object of names, in the order in which the file has them.
  Status ReadObject(const Json& object, const std::vector<std::string>& order,
                    const std::string& where) {
    if (object.is_null()) return Status::Ok();
    RETURN_IF_ERROR(CheckObject(object, where));
    for (const std::string& name : order) {
      const auto spec = object.find(name);
      if (spec == object.end()) continue;
      ASSIGN_OR_RETURN(AddedToken token,
                       ReadAddedToken(*spec, true, where + "." + name));
      token.special = true;
      SetName(name, std::move(token));
    }
    return Status::Ok();
  }

  Status ReadList(const Json& list, const std::string& where) {
    if (!list.is_array()) {
      return InvalidArgument(where + ": must be a list or an object, is " +
                             list.type_name());
    }
    for (size_t i = 0; i < list.size(); ++i) {
      ASSIGN_OR_RETURN(
          AddedToken token,
          ReadAddedToken(list[i], true, where + "[" + std::to_string(i) + "]"));
      token.special = true;
      extra_.push_back(std::move(token));
    }
    return Status::Ok();
  }

  // Tokens that a list gives with their ids, in the order of these.
  Status AddListed(const std::set<std::string>& named) {
    std::map<int64_t, AddedToken> listed;
    RETURN_IF_ERROR(In(files_.config, [&] { return ReadDecoder(&listed); }));
    RETURN_IF_ERROR(
        In(files_.added_tokens, [&] { return ReadAddedTokens(&listed); }));
    if (own_added_.is_array() &&
        Find(files_.config, "added_tokens_decoder") == nullptr) {
      for (const Json& spec : own_added_) {
        ASSIGN_OR_RETURN(AddedToken token,
                         ReadAddedToken(spec, false, "added_tokens"));
        listed[spec["id"].get<int64_t>()] = std::move(token);
      }
    }
    for (auto& [id, token] : listed) {
      token.special = token.special || named.contains(token.content);
      token.id = static_cast<int32_t>(id);
      RETURN_IF_ERROR(builder_.AddAddedToken(std::move(token)));
    }
    return Status::Ok();
  }

  // "added_tokens_decoder" of tokenizer_config.json: ids as texts.
  Status ReadDecoder(std::map<int64_t, AddedToken>* listed) {
    const std::string field = "added_tokens_decoder";
    const Json* decoder = Find(files_.config, field);
    if (decoder == nullptr || decoder->is_null()) return Status::Ok();
    RETURN_IF_ERROR(CheckObject(*decoder, field));
    for (const auto& [key, spec] : decoder->items()) {
      int32_t id = -1;
      const auto end = key.data() + key.size();
      const auto parsed = std::from_chars(key.data(), end, id);
      if (parsed.ec != std::errc() || parsed.ptr != end || id < 0) {
        return InvalidArgument(field + ": \"" + key + "\" is no token id");
      }
      ASSIGN_OR_RETURN((*listed)[id],
                       ReadAddedToken(spec, false, field + "." + key));
    }
    return Status::Ok();
  }

  // added_tokens.json: texts and their ids.
  Status ReadAddedTokens(std::map<int64_t, AddedToken>* listed) {
    if (!files_.added_tokens.json.is_object()) return Status::Ok();
    for (const auto& [text, value] : files_.added_tokens.json.items()) {
      ASSIGN_OR_RETURN(const int32_t id,
                       TokenId(value, int64_t{1} << 31, "\"" + text + "\""));
      AddedToken token;
      token.content = text;
      token.special = special_.contains(text);
      token.normalized = !token.special;
      (*listed)[id] = std::move(token);
    }
    return Status::Ok();
  }

  // The first and the last token of a text.
  Status SetFrame() {
    const auto id = [&](const char* name) {
      for (const auto& [known, token] : names_) {
        if (known == name) return builder_.Find(token.content);
      }
      return -1;
    };
    const int32_t bos = id("bos_token"), eos = id("eos_token");
    builder_.set_bos(bos);
    builder_.set_eos(eos);
    const bool has_prefix = builder_.has_prefix();
    const bool has_suffix = builder_.has_suffix();
    const bool counts = usual_.flags_count;
    const Json& config = files_.config.json;
    ASSIGN_OR_RETURN(
        const bool add_bos,
        BoolField(config, "add_bos_token", counts ? usual_.add_bos : has_prefix,
                  "the file"));
    ASSIGN_OR_RETURN(
        const bool add_eos,
        BoolField(config, "add_eos_token", counts ? usual_.add_eos : has_suffix,
                  "the file"));
    if (!counts) {
      if (add_bos != has_prefix) WarnOfFlag("add_bos_token", add_bos, "before");
      if (add_eos != has_suffix) WarnOfFlag("add_eos_token", add_eos, "after");
      return AddChatTemplates(files_, &builder_);
    }
    if (add_bos && bos >= 0 && !has_prefix) {
      const Json* said = Find(files_.config, "add_bos_token");
      if (files_.in_folder && (said == nullptr || said->is_null())) {
        builder_.Warn(
            "\"add_bos_token\" is missing in tokenizer_config.json: " +
            QuoteToken(builder_.Text(bos)) +
            " is put before a text, as such models are trained (transformers "
            "5.24 puts nothing)");
      }
      builder_.set_prefix({bos});
    }
    if (add_eos && eos >= 0 && !has_suffix) builder_.set_suffix({eos});
    return AddChatTemplates(files_, &builder_);
  }

  void WarnOfFlag(const std::string& flag, bool value, const char* where) {
    builder_.Warn(flag + (value ? " is true" : " is false") +
                  ", but \"post_processor\" of tokenizer.json puts " +
                  (value ? "nothing " : "tokens ") + where +
                  " a text, and that counts");
  }

  const SideFiles& files_;
  const Json& own_added_;
  const UsualSpecialTokens& usual_;
  TokenizerBuilder& builder_;
  Named names_;
  std::map<std::string, size_t> places_;  // in names_, before it is sorted
  std::set<std::string> silenced_;        // names that are null
  std::set<std::string> special_;         // texts of named and extra tokens
  std::vector<AddedToken> extra_;         // special tokens without a name
  int new_names_ = 0;
};

}  // namespace

Result<AddedToken> ReadAddedToken(const Json& spec, bool special,
                                  const std::string& where) {
  AddedToken token;
  if (spec.is_string()) {
    token.content = spec.get<std::string>();
    token.special = special;
    token.normalized = !special;
    return token;
  }
  if (!spec.is_object()) {
    return InvalidArgument(where + ": must be text or an object, is " +
                           spec.type_name());
  }
  ASSIGN_OR_RETURN(token.content, StringField(spec, "content", where));
  ASSIGN_OR_RETURN(token.special, BoolField(spec, "special", special, where));
  ASSIGN_OR_RETURN(token.single_word,
                   BoolField(spec, "single_word", false, where));
  ASSIGN_OR_RETURN(token.lstrip, BoolField(spec, "lstrip", false, where));
  ASSIGN_OR_RETURN(token.rstrip, BoolField(spec, "rstrip", false, where));
  ASSIGN_OR_RETURN(token.normalized,
                   BoolField(spec, "normalized", !token.special, where));
  return token;
}

Status ReadSpecialTokens(const SideFiles& files, const Json& own_added,
                         const UsualSpecialTokens& usual,
                         TokenizerBuilder* builder) {
  return SpecialTokens(files, own_added, usual, builder).Read();
}

}  // namespace intarsia
