#include "intarsia/hub/selection.h"

#include <algorithm>
#include <map>
#include <set>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/checkpoint.h"

namespace intarsia {
namespace {

constexpr char kWhole[] = "model.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";

using Names = std::set<std::string, std::less<>>;

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

// A model that drafts tokens for another: one of these words stands in its
// name or its folder's, as in "mtp-x-Q8_0.gguf" and "MTP/x.gguf".
bool IsDrafter(std::string_view path) {
  static const Names kWords = {"MTP",     "NEXTN",      "DRAFT",  "DRAFTS",
                               "DRAFTER", "EAGLE",      "EAGLE2", "EAGLE3",
                               "MEDUSA",  "SPECULATOR", "DFLASH", "DSPARK"};
  const std::string upper = Upper(path);
  for (std::string_view rest = upper; !rest.empty();) {
    const size_t end = rest.find_first_of("-_./ ");
    if (kWords.contains(rest.substr(0, end))) return true;
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  return false;
}

struct GgufModel {
  std::string stem, quant;
  bool drafter = false;
  std::map<int, HubFile> parts;
  int count = 1;
};

// GGUF models by their names without part numbers. Where all are drafters, the
// repository is about drafters, and none is marked as one.
std::map<std::string, GgufModel> GgufModels(const HubListing& listing) {
  std::map<std::string, GgufModel> models;
  for (const HubFile& file : listing.files) {
    if (!IsModelGguf(file)) continue;
    const GgufName name = ParseGgufName(file.path);
    GgufModel& model = models[name.stem + (name.count > 1 ? "-" : "")];
    model.stem = name.stem;
    model.quant = QuantOfFile(file.path);
    model.drafter = IsDrafter(file.path);
    model.count = std::max(model.count, name.count);
    model.parts[name.part] = file;
  }
  const bool only_drafters = std::ranges::all_of(
      models, [](const auto& item) { return item.second.drafter; });
  for (auto& [key, model] : models) model.drafter &= !only_drafters;
  return models;
}

bool Matches(const GgufModel& model, const std::string& upper_quant) {
  if (Upper(FileName(model.parts.begin()->second.path)) == upper_quant) {
    return true;
  }
  return !model.drafter &&
         (model.quant == upper_quant || model.quant == "UD-" + upper_quant);
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

const HubFile* FindFile(const HubListing& listing, std::string_view path) {
  const auto found = std::ranges::find(listing.files, path, &HubFile::path);
  return found == listing.files.end() ? nullptr : &*found;
}

// The names of the files that hold weights in safetensors.
Result<Names> WeightFiles(const HubListing& listing, const std::string& where,
                          const ReadHubFile& read) {
  if (FindFile(listing, kWhole) != nullptr) return Names{kWhole};
  Names names = {kIndex};
  ASSIGN_OR_RETURN(const std::string text, read(*FindFile(listing, kIndex)));
  const std::string repository = where.substr(where.find(' ') + 1);
  ASSIGN_OR_RETURN(const auto shards,
                   ReadShardIndex(text, repository + "/" + kIndex));
  for (const auto& [tensor, file] : shards) {
    if (names.insert(file).second && FindFile(listing, file) == nullptr) {
      return NotFound(where + ": " + kIndex + " names " + Printable(file) +
                      ", which is not there");
    }
  }
  if (names.size() == 1) {
    return InvalidArgument(where + ": " + kIndex + " names no weights");
  }
  return names;
}

// Weights, configuration and tokenizer at the top of the repository; pickled
// weights, other frameworks' and subfolders' files stay where they are.
Result<HubSelection> SelectSafetensors(const HubListing& listing,
                                       const std::string& where,
                                       const ReadHubFile& read) {
  static const Names kSmall = {"config.json",       "generation_config.json",
                               "tokenizer.json",    "tokenizer_config.json",
                               "tokenizer.model",   "special_tokens_map.json",
                               "added_tokens.json", "vocab.json",
                               "merges.txt",        "rwkv_vocab_v20230424.txt",
                               "intarsia.json"};
  ASSIGN_OR_RETURN(const auto weights, WeightFiles(listing, where, read));
  HubSelection out{.files = {}, .quant = kSafetensors, .entry = ""};
  for (const HubFile& file : listing.files) {
    const std::string& path = file.path;
    const bool template_of_many =
        path.starts_with("additional_chat_templates/") &&
        path.ends_with(".jinja");
    if (weights.contains(path) || kSmall.contains(path) || template_of_many ||
        (path.starts_with("chat_template") &&
         path.find('/') == std::string::npos)) {
      out.files.push_back(file);
    }
  }
  return out;
}

// What a file's name says of weights that are not read; empty: nothing.
std::string_view OtherForm(std::string_view path) {
  static constexpr std::pair<std::string_view, std::string_view> kForms[] = {
      {"ADAPTER_MODEL.SAFETENSORS", "an adapter without its model"},
      {".SAFETENSORS", "safetensors under a name that nothing refers to"},
      {".BIN", "pickled by PyTorch"},
      {".PT", "pickled by PyTorch"},
      {".PTH", "pickled by PyTorch"},
      {".CKPT", "pickled by PyTorch"},
      {".NEMO", "an archive of NeMo"},
      {".ONNX", "ONNX"},
      {".H5", "TensorFlow's"},
      {".TFLITE", "TensorFlow's"},
      {".MSGPACK", "Flax's"},
      {".MLMODEL", "Core ML's"},
      {".LITERTLM", "LiteRT's"}};
  for (const auto& [suffix, form] : kForms) {
    if (EndsWith(path, suffix)) return form;
  }
  return "";
}

Status NoModel(const HubListing& listing, const std::string& where) {
  constexpr int kMostNamed = 3;
  std::string others;
  int count = 0;
  for (const HubFile& file : listing.files) {
    const std::string_view form = OtherForm(file.path);
    if (form.empty() || ++count > kMostNamed) continue;
    others += (count == 1 ? "" : ", ") + Printable(file.path) + " (" +
              std::string(form) + ")";
  }
  if (count > kMostNamed) {
    others += " and " + std::to_string(count - kMostNamed) + " more";
  }
  return NotFound(where + " has neither model.safetensors nor GGUF files" +
                  (count == 0 ? ""
                              : "; what it has is not read: " + others +
                                    ". Look for the same model in "
                                    "safetensors or GGUF"));
}

Status NoSuchQuant(const std::map<std::string, GgufModel>& models,
                   const std::string& quant, const std::string& where) {
  std::set<std::string> names;
  for (const auto& [key, model] : models) {
    const std::string file(FileName(model.parts.begin()->second.path));
    names.insert(model.drafter         ? file + " (a drafter)"
                 : model.quant.empty() ? file
                                       : model.quant);
  }
  constexpr size_t kShown = 40;
  std::string list;
  size_t shown = 0;
  for (const std::string& name : names) {
    if (shown++ == kShown) {
      list += " and " + std::to_string(names.size() - kShown) + " more";
      break;
    }
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
                                 const std::string& where,
                                 const ReadHubFile& read) {
  const auto models = GgufModels(listing);
  const bool safetensors = FindFile(listing, kWhole) != nullptr ||
                           FindFile(listing, kIndex) != nullptr;
  if (quant == kSafetensors || (quant.empty() && safetensors)) {
    if (!safetensors) return NotFound(where + " has no safetensors");
    return SelectSafetensors(listing, where, read);
  }
  if (!quant.empty()) {
    const GgufModel* model = FindGguf(models, quant);
    if (model == nullptr) return NoSuchQuant(models, quant, where);
    return SelectGguf(*model, where);
  }
  for (const char* wanted :
       {"Q4_K_M", "Q8_0", "Q4_K_XL", "Q4_K_L",    "Q4_K_S", "Q4_K",   "IQ4_XS",
        "IQ4_NL", "Q4_0", "Q4_1",    "MXFP4_MOE", "MXFP4",  "Q5_K_M", "Q5_K_S",
        "Q5_K",   "Q5_0", "Q5_1",    "Q6_K",      "BF16",   "F16"}) {
    const GgufModel* model = FindGguf(models, wanted);
    if (model != nullptr) return SelectGguf(*model, where);
  }
  for (const auto& [key, model] : models) {
    if (!model.drafter) return SelectGguf(model, where);
  }
  return NoModel(listing, where);
}

}  // namespace intarsia
