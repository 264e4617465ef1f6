#include "intarsia/families/unused.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "intarsia/checkpoint/checked.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

std::vector<std::string_view> Parts(std::string_view name) {
  std::vector<std::string_view> parts;
  for (size_t dot = 0; dot != std::string_view::npos;) {
    dot = name.find('.');
    parts.push_back(name.substr(0, dot));
    if (dot != std::string_view::npos) name.remove_prefix(dot + 1);
  }
  return parts;
}

bool Has(std::string_view text, std::initializer_list<const char*> words) {
  return std::ranges::any_of(words, [&](const char* word) {
    return text.find(word) != std::string_view::npos;
  });
}

// The part that a component of a name is of: "vision tower". Null: none.
const char* OtherPart(std::string_view component) {
  if (Has(component, {"projector", "projection", "connector", "aligner",
                      "resampler", "perceiver", "merger", "adaptor"}) ||
      component == "mm") {
    return "projector";
  }
  if (Has(component, {"audio", "speech", "talker", "code2wav", "token2wav",
                      "apm", "tts"}) ||
      component == "a") {
    return "audio tower";
  }
  if (Has(component, {"visual", "vision", "image", "img_", "vit", "vpm"}) ||
      component == "v") {
    return "vision tower";
  }
  return nullptr;
}

// Buffers that earlier versions of libraries saved beside the weights.
bool IsLeftover(const std::string& family, std::string_view name) {
  if (name.ends_with("rotary_emb.inv_freq") || name == "rope.freqs" ||
      name.ends_with(".position_ids") || name == "position_ids") {
    return true;
  }
  return family == "gpt2" &&
         (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"));
}

// A head that drafts tokens: named so, or blocks past the last with the parts
// that only such blocks have.
bool IsDraftName(std::string_view part) {
  return part == "mtp" || part == "mtp_layers" || part == "mtp_block" ||
         part == "nextn" || part == "nextn_layers" || part == "medusa_head";
}
bool IsDraftPart(std::string_view part) {
  return part == "eh_proj" || part == "enorm" || part == "hnorm" ||
         part == "shared_head" || part == "nextn";
}

// The block that a name is of; −1: none.
int BlockOf(const std::vector<std::string_view>& parts) {
  if (parts.size() < 3 || (parts[0] != "layers" && parts[0] != "h" &&
                           parts[0] != "blk" && parts[0] != "blocks")) {
    return -1;
  }
  const std::string_view number = parts[1];
  if (number.empty() || number.size() > 6 ||
      number.find_first_not_of("0123456789") != std::string_view::npos) {
    return -1;
  }
  return std::stoi(std::string(number));
}

std::string Count(size_t n, const char* what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

// Whether `value` changes nothing, by the field's neutral values, a list.
bool IsNeutral(const DeclaredField& field, const Json& value) {
  if (value.is_null()) return true;
  const Json neutral = Json::parse(field.neutral);
  return std::ranges::find(neutral, value) != neutral.end();
}

}  // namespace

void SortTensors(const std::map<std::string, std::string>& names,
                 const TensorNamespace& space, Unused* unused) {
  // Blocks of a drafting head, past those of the model.
  std::set<int> drafts;
  for (const auto& [name, bare] : names) {
    const auto parts = Parts(bare);
    const int block = BlockOf(parts);
    if (block >= space.blocks && std::ranges::any_of(parts, IsDraftPart)) {
      drafts.insert(block);
    }
  }
  struct Group {
    std::string what;
    size_t count = 0;
  };
  std::map<std::string, Group> skipped;  // by the names' common front
  std::vector<std::string> others;
  for (const auto& [name, bare] : names) {
    if (IsLeftover(space.family, bare)) continue;
    const auto parts = Parts(bare);
    const int block = BlockOf(parts);
    std::string front, what;
    if (block >= space.blocks && drafts.contains(block)) {
      front = std::string(parts[0]) + "." + std::string(parts[1]);
      what = "head that drafts tokens (MTP)";
    } else if (space.own.contains(std::string(parts[0]))) {
      unused->tensors.push_back(name);
      continue;
    }
    for (size_t i = 0; i + 1 < parts.size() && what.empty(); ++i) {
      front += (i == 0 ? "" : ".") + std::string(parts[i]);
      if (IsDraftName(parts[i])) {
        what = "head that drafts tokens (MTP)";
      } else if (const char* part = OtherPart(parts[i])) {
        what = part;
      }
    }
    if (what.empty()) {
      others.push_back(name);
      continue;
    }
    // As the file names it: with what stands before.
    const size_t at = name.find(front);
    front = name.substr(0, at == std::string::npos ? 0 : at) + front;
    Group& group = skipped[front];
    group.what = what;
    ++group.count;
  }
  size_t shown = 0;
  for (const auto& [front, group] : skipped) {
    if (++shown > 10) break;
    const char* article = group.what[0] == 'a' ? " of an " : " of a ";
    unused->warnings.push_back(
        Printable(front) + ".*: " + Count(group.count, "tensor") + article +
        group.what + (group.count == 1 ? " is" : " are") + " skipped");
  }
  if (skipped.size() > 10) {
    unused->warnings.push_back("tensors of " +
                               std::to_string(skipped.size() - 10) +
                               " further parts are skipped");
  }
  if (!others.empty()) {
    unused->warnings.push_back(Count(others.size(), "tensor") +
                               (others.size() == 1 ? " is" : " are") +
                               " not used: " + Listed(others));
  }
}

void SortFields(const std::vector<std::string>& names, const Json& config,
                const std::string& prefix,
                const std::vector<DeclaredField>& declared, Unused* unused) {
  std::vector<std::string> others;
  for (const std::string& name : names) {
    // Many files say this; no class reads it.
    if (name == "rope_interleaved" && config.at(prefix + name) == false) {
      continue;
    }
    const auto found = std::ranges::find_if(
        declared,
        [&](const DeclaredField& field) { return name == field.name; });
    if (found == declared.end()) {
      others.push_back(prefix + name);
    } else if (!IsNeutral(*found, config.at(prefix + name))) {
      unused->fields.push_back(prefix + name);
    }
  }
  if (others.empty()) return;
  unused->warnings.push_back(Count(others.size(), "field") +
                             " of the configuration" +
                             (others.size() == 1 ? " is" : " are") +
                             " not known and not used: " + Listed(others));
}

const std::vector<DeclaredField>& CommonFields() {
  static const auto* const fields = new std::vector<DeclaredField>{
      {"per_layer_config", "[{}]"},
      {"is_encoder_decoder", "[false]"},
  };
  return *fields;
}

const std::vector<DeclaredField>& CommonGgufFields() {
  static const auto* const fields = new std::vector<DeclaredField>{
      {"attention.causal", "[true]"},
      {"expert_count", "[0]"},
      {"expert_used_count", "[0]"},
      {"expert_group_count", "[0, 1]"},
      {"expert_group_used_count", "[0, 1]"},
      {"nextn_predict_layers", "[0]"},
      {"rope.dimension_count", "[]"},
      {"rope.freq_base", "[]"},
      {"rope.scale_linear", "[1, 1.0]"},
      {"rope.scaling.type", "[\"none\"]"},
      {"rope.scaling.factor", "[0, 1]"},
      {"rope.scaling.attn_factor", "[0, 1]"},
      {"rope.scaling.finetuned", "[true, false]"},
      {"rope.scaling.original_context_length", "[]"},
      {"rope.scaling.yarn_ext_factor", "[]"},
      {"rope.scaling.yarn_attn_factor", "[0, 1]"},
      {"rope.scaling.yarn_beta_fast", "[]"},
      {"rope.scaling.yarn_beta_slow", "[]"},
  };
  return *fields;
}

}  // namespace intarsia
