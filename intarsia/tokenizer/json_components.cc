#include "intarsia/tokenizer/json_components.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "intarsia/tokenizer/base64.h"
#include "intarsia/tokenizer/json_fields.h"
#include "intarsia/tokenizer/utf8.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

constexpr int kMaxNesting = 8;
constexpr size_t kMaxSteps = 64;

const Json& FieldOrNull(const Json& object, const char* name) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto it = object.find(name);
  return it == object.end() ? kNull : *it;
}

// {"String": ...} or {"Regex": ...}.
struct Pattern {
  std::string text;
  bool regex = false;
};
Result<Pattern> ReadPattern(const Json& spec, const std::string& where) {
  const Json& pattern = FieldOrNull(spec, "pattern");
  RETURN_IF_ERROR(CheckObject(pattern, where + ".pattern"));
  Pattern result;
  result.regex = pattern.contains("Regex");
  ASSIGN_OR_RETURN(result.text,
                   StringField(pattern, result.regex ? "Regex" : "String",
                               where + ".pattern"));
  return result;
}

Status AddReplace(const Json& spec, const std::string& where,
                  Normalizer* normalizer) {
  ASSIGN_OR_RETURN(Pattern pattern, ReadPattern(spec, where));
  ASSIGN_OR_RETURN(std::string content, StringField(spec, "content", where));
  if (!pattern.regex) {
    normalizer->AddReplaceText(std::move(pattern.text), std::move(content));
    return Status::Ok();
  }
  ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern.text));
  normalizer->AddReplace(std::move(regex), std::move(content));
  return Status::Ok();
}

Status AddNormalizer(const Json& spec, int depth, Normalizer* out) {
  const std::string where = "normalizer";
  RETURN_IF_ERROR(CheckObject(spec, where));
  ASSIGN_OR_RETURN(const std::string type, StringField(spec, "type", where));
  if (out->size() > kMaxSteps || depth > kMaxNesting) {
    return InvalidArgument(where + ": too many or too deeply nested parts");
  }
  if (type == "NFC") {
    out->AddForm(UnicodeForm::kNfc);
  } else if (type == "NFD") {
    out->AddForm(UnicodeForm::kNfd);
  } else if (type == "NFKC") {
    out->AddForm(UnicodeForm::kNfkc);
  } else if (type == "NFKD") {
    out->AddForm(UnicodeForm::kNfkd);
  } else if (type == "Nmt") {
    out->AddNmt();
  } else if (type == "Lowercase") {
    out->AddLowerCase();
  } else if (type == "StripAccents") {
    out->AddStripAccents();
  } else if (type == "ByteLevel") {
    out->AddByteLevel();
  } else if (type == "Strip") {
    ASSIGN_OR_RETURN(const bool left,
                     BoolField(spec, "strip_left", true, where));
    ASSIGN_OR_RETURN(const bool right,
                     BoolField(spec, "strip_right", true, where));
    out->AddStrip(left, right);
  } else if (type == "Prepend") {
    ASSIGN_OR_RETURN(std::string text, StringField(spec, "prepend", where));
    out->AddPrepend(std::move(text));
  } else if (type == "Replace") {
    return AddReplace(spec, where, out);
  } else if (type == "Precompiled") {
    ASSIGN_OR_RETURN(const std::string text,
                     StringField(spec, "precompiled_charsmap", where));
    ASSIGN_OR_RETURN(const std::string blob, DecodeBase64(text));
    ASSIGN_OR_RETURN(Charsmap map, Charsmap::Parse(blob));
    out->AddCharsmap(std::move(map));
  } else if (type == "Sequence") {
    ASSIGN_OR_RETURN(const Json* parts, ArrayField(spec, "normalizers", where));
    for (const Json& part : *parts) {
      RETURN_IF_ERROR(AddNormalizer(part, depth + 1, out));
    }
  } else {
    return Unsupported(where + ": type \"" + type +
                       "\" (known: ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, "
                       "Nmt, Precompiled, Prepend, Replace, Sequence, Strip, "
                       "StripAccents)");
  }
  return Status::Ok();
}

// Whether tokens are one text already.
struct DecoderProgress {
  bool fused = false;
  int steps = 0;
};

Status AddStrip(const Json& spec, const std::string& where, bool fused,
                Decoder* out) {
  ASSIGN_OR_RETURN(const std::string content,
                   StringField(spec, "content", where));
  if (content.empty() || NextUtf8(content).length != content.size()) {
    return InvalidArgument(where + ".content: must be one character");
  }
  const auto count = [&](const char* name) -> Result<int> {
    const Json& field = FieldOrNull(spec, name);
    constexpr unsigned kMost = 1u << 20;
    if (!field.is_number_unsigned() || field.get<uint64_t>() > kMost) {
      return InvalidArgument(where + "." + name + ": must be in 0..1048576");
    }
    return field.get<int>();
  };
  ASSIGN_OR_RETURN(const int start, count("start"));
  ASSIGN_OR_RETURN(const int stop, count("stop"));
  const char32_t character = NextUtf8(content).code;
  fused ? out->AddWholeStrip(character, start, stop)
        : out->AddStrip(character, start, stop);
  return Status::Ok();
}

Status AddDecodedReplace(const Json& spec, const std::string& where, bool fused,
                         Decoder* out) {
  ASSIGN_OR_RETURN(Pattern pattern, ReadPattern(spec, where));
  ASSIGN_OR_RETURN(std::string content, StringField(spec, "content", where));
  if (!pattern.regex) {
    fused ? out->AddWholeReplace(std::move(pattern.text), std::move(content))
          : out->AddReplace(std::move(pattern.text), std::move(content));
    return Status::Ok();
  }
  if (fused) {
    return Unsupported(where +
                       ": Replace by a Regex after Fuse would need "
                       "the whole text at once");
  }
  ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern.text));
  out->AddReplace(std::move(regex), std::move(content));
  return Status::Ok();
}

Status AddDecodedMetaspace(const Json& spec, const std::string& where,
                           bool fused, Decoder* out) {
  std::string mark(kVisibleSpace);
  if (spec.contains("replacement")) {
    ASSIGN_OR_RETURN(mark, StringField(spec, "replacement", where));
  }
  if (mark.empty() || NextUtf8(mark).length != mark.size()) {
    return InvalidArgument(where + ".replacement: must be one character");
  }
  ASSIGN_OR_RETURN(bool drop, BoolField(spec, "add_prefix_space", true, where));
  if (spec.contains("prepend_scheme")) {
    ASSIGN_OR_RETURN(const std::string scheme,
                     StringField(spec, "prepend_scheme", where));
    drop = scheme != "never";
  }
  // The first token loses its marks; a fused text is nothing but that.
  fused ? out->AddWholeReplace(std::move(mark), drop ? "" : " ")
        : out->AddMetaspace(std::move(mark), drop);
  return Status::Ok();
}

Status AddDecoder(const Json& spec, int depth, DecoderProgress* progress,
                  Decoder* out) {
  const std::string where = "decoder";
  RETURN_IF_ERROR(CheckObject(spec, where));
  ASSIGN_OR_RETURN(const std::string type, StringField(spec, "type", where));
  if (depth > kMaxNesting || ++progress->steps > 64) {
    return InvalidArgument(where + ": too many or too deeply nested parts");
  }
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const Json* parts, ArrayField(spec, "decoders", where));
    for (const Json& part : *parts) {
      RETURN_IF_ERROR(AddDecoder(part, depth + 1, progress, out));
    }
    return Status::Ok();
  }
  const bool fused = progress->fused;
  if (type == "Fuse") {
    progress->fused = true;
    return Status::Ok();
  }
  if (type == "Strip") return AddStrip(spec, where, fused, out);
  if (type == "Replace") return AddDecodedReplace(spec, where, fused, out);
  if (type == "Metaspace") {
    return AddDecodedMetaspace(spec, where, fused, out);
  }
  if (type != "ByteLevel" && type != "ByteFallback") {
    return Unsupported(where + ": type \"" + type +
                       "\" (known: ByteFallback, ByteLevel, Fuse, Metaspace, "
                       "Replace, Sequence, Strip)");
  }
  if (fused) {
    return Unsupported(where + ": " + type +
                       " after Fuse would need the whole text at once");
  }
  type == "ByteLevel" ? out->AddByteLevel()
                      : out->AddByteFallback(/*runs=*/true);
  return Status::Ok();
}

// Appends the ids that a TemplateProcessing gives for one of its names.
Status AppendTemplateIds(const Json& spec, const std::string& name,
                         std::vector<int32_t>* out) {
  const std::string where = "post_processor.special_tokens";
  const Json& tokens = FieldOrNull(spec, "special_tokens");
  RETURN_IF_ERROR(CheckObject(tokens, where));
  const Json& token = FieldOrNull(tokens, name.c_str());
  RETURN_IF_ERROR(CheckObject(token, where + "[\"" + name + "\"]"));
  ASSIGN_OR_RETURN(const Json* ids, ArrayField(token, "ids", where));
  for (const Json& value : *ids) {
    ASSIGN_OR_RETURN(const int32_t id, TokenId(value, 1 << 28, where));
    out->push_back(id);
  }
  return Status::Ok();
}

Status ReadTemplateProcessing(const Json& spec, TokenFrame* frame) {
  const std::string where = "post_processor.single";
  ASSIGN_OR_RETURN(const Json* parts,
                   ArrayField(spec, "single", "post_processor"));
  std::vector<int32_t> before, after;
  bool seen_text = false;
  for (const Json& part : *parts) {
    RETURN_IF_ERROR(CheckObject(part, where));
    if (part.contains("Sequence")) {
      if (seen_text) return Unsupported(where + ": the text twice");
      seen_text = true;
      continue;
    }
    ASSIGN_OR_RETURN(const std::string name,
                     StringField(FieldOrNull(part, "SpecialToken"), "id",
                                 where + ".SpecialToken"));
    RETURN_IF_ERROR(
        AppendTemplateIds(spec, name, seen_text ? &after : &before));
  }
  if (!seen_text) return InvalidArgument(where + ": the text is missing");
  frame->prefix.insert(frame->prefix.begin(), before.begin(), before.end());
  frame->suffix.insert(frame->suffix.end(), after.begin(), after.end());
  return Status::Ok();
}

Status AddPostProcessor(const Json& spec, int depth, TokenFrame* frame) {
  const std::string where = "post_processor";
  if (spec.is_null()) return Status::Ok();
  RETURN_IF_ERROR(CheckObject(spec, where));
  ASSIGN_OR_RETURN(const std::string type, StringField(spec, "type", where));
  if (type == "ByteLevel") return Status::Ok();  // trims offsets only
  if (type == "TemplateProcessing") return ReadTemplateProcessing(spec, frame);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    const auto read = [&](const char* name) -> Result<int32_t> {
      ASSIGN_OR_RETURN(const Json* pair, ArrayField(spec, name, where));
      const std::string at = where + "." + name;
      if (pair->size() != 2) return InvalidArgument(at + ": not a pair");
      return TokenId((*pair)[1], 1 << 28, at);
    };
    ASSIGN_OR_RETURN(const int32_t cls, read("cls"));
    ASSIGN_OR_RETURN(const int32_t sep, read("sep"));
    frame->prefix.insert(frame->prefix.begin(), cls);
    frame->suffix.push_back(sep);
    return Status::Ok();
  }
  if (type != "Sequence" || depth > kMaxNesting) {
    return Unsupported(where + ": type \"" + type +
                       "\" (known: BertProcessing, ByteLevel, "
                       "RobertaProcessing, Sequence, TemplateProcessing)");
  }
  ASSIGN_OR_RETURN(const Json* parts, ArrayField(spec, "processors", where));
  for (const Json& part : *parts) {
    RETURN_IF_ERROR(AddPostProcessor(part, depth + 1, frame));
  }
  return Status::Ok();
}

}  // namespace

Result<Normalizer> ReadNormalizer(const Json& spec) {
  Normalizer result;
  if (!spec.is_null()) RETURN_IF_ERROR(AddNormalizer(spec, 0, &result));
  return result;
}

Result<Decoder> ReadDecoder(const Json& spec, bool byte_level) {
  Decoder result;
  DecoderProgress progress;
  if (!spec.is_null()) {
    RETURN_IF_ERROR(AddDecoder(spec, 0, &progress, &result));
  } else if (byte_level) {
    result.AddByteLevel();
  } else {
    result.AddSeparator();
  }
  return result;
}

Result<TokenFrame> ReadPostProcessor(const Json& spec) {
  TokenFrame frame;
  RETURN_IF_ERROR(AddPostProcessor(spec, 0, &frame));
  return frame;
}

Json FrameProcessor(const FrameToken& before, const FrameToken& after) {
  if (before.text.empty() && after.text.empty()) return nullptr;
  const auto token = [](const FrameToken& frame, int type) -> Json {
    return {{"SpecialToken", {{"id", frame.text}, {"type_id", type}}}};
  };
  Json single = Json::array(), pair = Json::array(), names = Json::object();
  const auto add = [&](const char* name, int type, Json* list) {
    if (!before.text.empty()) list->push_back(token(before, type));
    list->push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
    if (!after.text.empty()) list->push_back(token(after, type));
  };
  add("A", 0, &single);
  add("A", 0, &pair);
  add("B", 1, &pair);
  for (const FrameToken& frame : {before, after}) {
    if (frame.text.empty()) continue;
    names[frame.text] = {
        {"id", frame.text}, {"ids", {frame.id}}, {"tokens", {frame.text}}};
  }
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", names}};
}

std::string WithFrame(const std::string& tokenizer_json,
                      const FrameToken& before, const FrameToken& after) {
  using Ordered = nlohmann::ordered_json;  // the file's order stays
  Ordered json = Ordered::parse(tokenizer_json, nullptr,
                                /*allow_exceptions=*/false);
  if (!json.is_object()) return tokenizer_json;
  json["post_processor"] = Ordered(FrameProcessor(before, after));
  return json.dump(-1, ' ', false, Ordered::error_handler_t::replace) + "\n";
}

}  // namespace intarsia
