#include "intarsia/hub/selection.h"

#include <algorithm>
#include <map>
#include <set>

#include "intarsia/checkpoint/checked.h"

namespace intarsia {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

std::string Upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

std::string_view FileName(std::string_view path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

bool EndsWith(std::string_view text, std::string_view upper_suffix) {
  return text.size() >= upper_suffix.size() &&
         Upper(text.substr(text.size() - upper_suffix.size())) == upper_suffix;
}

// "x-00001-of-00003.gguf" or "x.gguf" without what follows x, and the part's
// number; 1 of 1 where it is no part.
struct GgufName {
  std::string stem;
  int part = 1, count = 1;
};

GgufName ParseGgufName(std::string_view path) {
  GgufName name;
  name.stem = path.substr(0, path.size() - 5);
  const std::string_view stem = name.stem;
  constexpr size_t kSuffix = 15;  // "-00001-of-00003"
  if (stem.size() <= kSuffix) return name;
  const std::string_view tail = stem.substr(stem.size() - kSuffix);
  int part = 0, count = 0;
  for (size_t i = 0; i < 5; ++i) {
    if (!IsDigit(tail[1 + i]) || !IsDigit(tail[10 + i])) return name;
    part = part * 10 + (tail[1 + i] - '0');
    count = count * 10 + (tail[10 + i] - '0');
  }
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || part < 1 ||
      part > count) {
    return name;
  }
  name.part = part;
  name.count = count;
  name.stem.resize(stem.size() - kSuffix);
  return name;
}

// The length of the quantisation that `upper` begins with, 0 without one:
// Q4_0, Q4_K_M, IQ2_XXS, TQ1_0, BF16, F16, MXFP4 and their like.
size_t QuantLength(std::string_view upper) {
  for (const std::string_view plain :
       {"BF16", "F16", "F32", "FP16", "FP32", "MXFP4_MOE", "MXFP4", "NVFP4"}) {
    if (upper.starts_with(plain)) return plain.size();
  }
  size_t at = upper.starts_with("IQ") || upper.starts_with("TQ") ? 2
              : upper.starts_with("Q")                           ? 1
                                                                 : 0;
  if (at == 0 || at >= upper.size() || !IsDigit(upper[at])) return 0;
  while (at < upper.size() && IsDigit(upper[at])) ++at;
  static constexpr std::string_view kParts[] = {
      "0", "1", "2", "4", "8", "K", "S", "M", "L", "XL", "XS", "XXS", "NL"};
  while (at < upper.size() && upper[at] == '_') {
    const std::string_view rest = upper.substr(at + 1);
    const std::string_view part = rest.substr(0, rest.find_first_of("_-./"));
    if (std::find(std::begin(kParts), std::end(kParts), part) ==
        std::end(kParts)) {
      break;
    }
    at += 1 + part.size();
  }
  return at;
}

bool IsModelGguf(const HubFile& file) {
  if (!EndsWith(file.path, ".GGUF")) return false;
  const std::string name = Upper(FileName(file.path));
  return name.find("MMPROJ") == std::string::npos &&
         name.find("IMATRIX") == std::string::npos;
}

struct GgufModel {
  std::string stem, quant;
  std::map<int, HubFile> parts;
  int count = 1;
};

// GGUF models by their names without part numbers.
std::map<std::string, GgufModel> GgufModels(const HubListing& listing) {
  std::map<std::string, GgufModel> models;
  for (const HubFile& file : listing.files) {
    if (!IsModelGguf(file)) continue;
    const GgufName name = ParseGgufName(file.path);
    GgufModel& model = models[name.stem + (name.count > 1 ? "-" : "")];
    model.stem = name.stem;
    model.quant = QuantOfFile(file.path);
    model.count = std::max(model.count, name.count);
    model.parts[name.part] = file;
  }
  return models;
}

bool Matches(const GgufModel& model, const std::string& upper_quant) {
  return model.quant == upper_quant || model.quant == "UD-" + upper_quant ||
         Upper(FileName(model.parts.begin()->second.path)) == upper_quant;
}

// The model that `quant` means: an exact one before one of unsloth's, then the
// one with the shortest name.
const GgufModel* FindGguf(const std::map<std::string, GgufModel>& models,
                          const std::string& quant) {
  const std::string upper = Upper(quant);
  const auto rank = [&](const GgufModel& model) {
    return std::pair(
        model.quant.starts_with("UD-") && !upper.starts_with("UD-"),
        model.stem.size());
  };
  const GgufModel* best = nullptr;
  for (const auto& [key, model] : models) {
    if (!Matches(model, upper)) continue;
    if (best == nullptr || rank(model) < rank(*best)) best = &model;
  }
  return best;
}

Result<HubSelection> SelectGguf(const GgufModel& model,
                                const std::string& where) {
  HubSelection out;
  for (int part = 1; part <= model.count; ++part) {
    const auto found = model.parts.find(part);
    if (found == model.parts.end()) {
      return NotFound(where + ": part " + std::to_string(part) + " of " +
                      std::to_string(model.count) + " of " +
                      Printable(model.stem) + " is not there");
    }
    out.files.push_back(found->second);
  }
  out.entry = out.files[0].path;
  out.quant =
      model.quant.empty() ? std::string(FileName(out.entry)) : model.quant;
  return out;
}

// Weights, configuration and tokenizer at the top of the repository; pickled
// weights, other frameworks' and subfolders' files stay where they are.
HubSelection SelectSafetensors(const HubListing& listing) {
  static const std::set<std::string, std::less<>> kSmall = {
      "config.json",       "generation_config.json",
      "tokenizer.json",    "tokenizer_config.json",
      "tokenizer.model",   "special_tokens_map.json",
      "added_tokens.json", "vocab.json",
      "merges.txt",        "rwkv_vocab_v20230424.txt",
      "intarsia.json"};
  const auto has = [&](std::string_view path) {
    return std::ranges::find(listing.files, path, &HubFile::path) !=
           listing.files.end();
  };
  const bool whole = has("model.safetensors");
  HubSelection out{.files = {}, .quant = kSafetensors, .entry = ""};
  for (const HubFile& file : listing.files) {
    const std::string& path = file.path;
    if (path.find('/') != std::string::npos) continue;
    const bool weights = whole ? path == "model.safetensors"
                               : path == "model.safetensors.index.json" ||
                                     (path.starts_with("model-") &&
                                      path.ends_with(".safetensors"));
    if (weights || kSmall.contains(path) || path.starts_with("chat_template")) {
      out.files.push_back(file);
    }
  }
  return out;
}

Status NoSuchQuant(const std::map<std::string, GgufModel>& models,
                   const std::string& quant, const std::string& where) {
  std::set<std::string> names;
  for (const auto& [key, model] : models) {
    names.insert(model.quant.empty()
                     ? std::string(FileName(model.parts.begin()->second.path))
                     : model.quant);
  }
  std::string list;
  for (const std::string& name : names) {
    list += (list.empty() ? "" : ", ") + Printable(name);
  }
  return NotFound(where + " has no GGUF file in " + Printable(quant) +
                  (list.empty() ? "" : "; there are: " + list));
}

}  // namespace

std::string QuantOfFile(std::string_view path) {
  if (!EndsWith(path, ".GGUF")) return "";
  const std::string upper = Upper(ParseGgufName(path).stem);
  std::string quant;
  for (size_t at = 0; at < upper.size(); ++at) {
    if (at > 0 && std::string_view("-_./").find(upper[at - 1]) ==
                      std::string_view::npos) {
      continue;
    }
    const size_t length = QuantLength(std::string_view(upper).substr(at));
    const size_t end = at + length;
    if (length == 0 ||
        (end < upper.size() &&
         std::string_view("-_./").find(upper[end]) == std::string_view::npos)) {
      continue;
    }
    const bool dynamic = at >= 3 && upper.compare(at - 3, 3, "UD-") == 0;
    quant = (dynamic ? "UD-" : "") + upper.substr(at, length);
    at = end - 1;
  }
  return quant;
}

Result<HubSelection> SelectFiles(const HubListing& listing,
                                 const std::string& quant,
                                 const std::string& where) {
  const auto models = GgufModels(listing);
  const bool safetensors =
      std::ranges::any_of(listing.files, [](const HubFile& file) {
        return file.path == "model.safetensors" ||
               file.path == "model.safetensors.index.json";
      });
  if (quant == kSafetensors || (quant.empty() && safetensors)) {
    if (!safetensors) return NotFound(where + " has no safetensors");
    return SelectSafetensors(listing);
  }
  if (!quant.empty()) {
    const GgufModel* model = FindGguf(models, quant);
    if (model == nullptr) return NoSuchQuant(models, quant, where);
    return SelectGguf(*model, where);
  }
  if (models.empty()) {
    return NotFound(where + " has neither model.safetensors nor GGUF files");
  }
  for (const char* wanted : {"Q4_K_M", "Q8_0"}) {
    const GgufModel* model = FindGguf(models, wanted);
    if (model != nullptr) return SelectGguf(*model, where);
  }
  return SelectGguf(models.begin()->second, where);
}

}  // namespace intarsia
