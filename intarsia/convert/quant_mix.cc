#include "intarsia/convert/quant_mix.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "intarsia/formats/format.h"

namespace intarsia {
namespace {

// "blk.12.ffn_down.weight" → 12; -1 where there is no number.
int LayerOf(std::string_view name) {
  int layer = -1;
  for (size_t i = 0; i < name.size(); ++i) {
    if (std::isdigit(static_cast<unsigned char>(name[i])) == 0) {
      if (layer >= 0) return layer;
      continue;
    }
    if (i > 0 && layer < 0 && name[i - 1] != '.') return -1;
    if (layer > 100'000) return -1;
    layer = std::max(layer, 0) * 10 + (name[i] - '0');
  }
  return -1;
}

bool Has(std::string_view name, std::string_view part) {
  return name.find(part) != std::string_view::npos;
}

// A matrix whose numbers may lose bits.
bool Quantisable(const MixTensor& tensor) {
  const std::string_view name = tensor.name;
  if (!name.ends_with("weight") || tensor.shape.rank() < 2) return false;
  for (const char* part :
       {"_norm.weight", "ffn_gate_inp", "position_embd", "token_types",
        "ssm_conv1d", "shortconv.conv", "time_mix_", "attn_rel_b", "altup",
        "laurel", "per_layer_model_proj"}) {
    if (Has(name, part)) return false;
  }
  return true;
}

// Where extra bits help most: the first and the last eighth of the layers, and
// every third of those between.
bool MoreBits(int i, int n) {
  return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

class Rules {
 public:
  Rules(const QuantMix& mix, const MixModel& model,
        std::span<const MixTensor> tensors)
      : mix_(mix.name), base_(mix.format), model_(model) {
    for (const MixTensor& tensor : tensors) {
      if (IsValue(tensor.name)) values_.insert(LayerOf(tensor.name));
      if (Has(tensor.name, "ffn_down")) downs_.insert(LayerOf(tensor.name));
      has_output_ = has_output_ || tensor.name == "output.weight";
    }
  }

  std::string Choose(const MixTensor& tensor) const {
    const std::string_view name = tensor.name;
    const int layer = LayerOf(name);
    if (name == "output.weight" ||
        (!has_output_ && name == "token_embd.weight")) {
      return Output(tensor);
    }
    if (Is("MXFP4_MOE")) return tensor.shape.rank() > 2 ? "mxfp4" : "q8_0";
    if (Has(name, "attn_v.weight")) return Value(Rank(values_, layer));
    if (Has(name, "attn_qkv.weight")) return Fused();
    if (Has(name, "attn_k.weight") && model_.experts == 8) return "q8_0";
    if (Has(name, "attn_output.weight")) return AttentionOutput();
    if (Has(name, "ffn_down")) {
      return Down(Rank(downs_, layer), static_cast<int>(downs_.size()));
    }
    return base_;
  }

 private:
  bool Is(std::string_view name) const { return mix_ == name; }
  bool Falcon() const { return model_.architecture == "falcon"; }

  static bool IsValue(std::string_view name) {
    return Has(name, "attn_v.weight") || Has(name, "attn_qkv.weight") ||
           Has(name, "attn_kv_b.weight");
  }
  static int Rank(const std::set<int>& layers, int layer) {
    return static_cast<int>(std::distance(layers.begin(), layers.find(layer)));
  }

  std::string Output(const MixTensor& tensor) const {
    const Format* base = FindFormat(base_);
    if (base->block() == 1) return base_;
    if (Is("MXFP4_MOE") || Falcon() || tensor.shape[-1] % 256 != 0) {
      return "q8_0";
    }
    return base_ == "q8_0" ? base_ : "q6_k";
  }

  std::string Value(int i) const {
    if (model_.experts == 8) return "q8_0";
    const bool shared = model_.queries_per_key >= 4;
    const int n = static_cast<int>(values_.size());
    if (Is("Q2_K")) return shared ? "q4_k" : "q3_k";
    if (Is("Q2_K_S") && shared) return "q4_k";
    if (Is("Q3_K_M")) return i < 2 ? "q5_k" : "q4_k";
    if (Is("Q3_K_L")) return "q5_k";
    if ((Is("IQ4_NL") || Is("IQ4_XS")) && shared) return "q5_k";
    if ((Is("Q4_K_M") || Is("Q5_K_M")) && MoreBits(i, n)) return "q6_k";
    if (Is("Q4_K_S") && i < 4) return "q5_k";
    return base_;
  }

  std::string Fused() const {
    if (Is("Q3_K_M") || Is("Q3_K_L")) return "q4_k";
    if (Is("Q4_K_M")) return "q5_k";
    if (Is("Q5_K_M")) return "q6_k";
    return base_;
  }

  std::string AttentionOutput() const {
    if (Falcon()) {
      return Is("Q3_K_L") ? "q4_k" : base_;
    }
    if (model_.experts == 8) {
      for (const char* name : {"Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S",
                               "Q4_K_M", "IQ4_XS"}) {
        if (Is(name)) return "q5_k";
      }
      return base_;
    }
    if (Is("Q2_K")) return "q3_k";
    if (Is("Q3_K_M")) return "q4_k";
    if (Is("Q3_K_L")) return "q5_k";
    return base_;
  }

  std::string Down(int i, int n) const {
    const bool early = i < n / 8;
    if (Is("Q2_K")) return "q3_k";
    if (Is("Q2_K_S") && early) return "q4_k";
    if (Is("Q3_K_M")) {
      if (i < n / 16) return "q5_k";
      return !Falcon() || MoreBits(i, n) ? "q4_k" : "q3_k";
    }
    if (Is("Q3_K_L")) return Falcon() ? "q4_k" : "q5_k";
    if (Is("Q4_K_M") && Falcon()) {
      if (i < n / 16) return "q6_k";
      return MoreBits(i, n) ? "q5_k" : "q4_k";
    }
    if ((Is("Q4_K_M") || Is("Q5_K_M")) && MoreBits(i, n)) return "q6_k";
    if ((Is("IQ4_NL") || Is("IQ4_XS")) && early && !model_.importance) {
      return "q5_k";
    }
    if (Is("Q4_K_S") && early && !Falcon()) return "q5_k";
    if (Is("Q4_0") && early && model_.importance) return "q4_1";
    if (Is("Q5_0") && early && model_.importance) return "q5_1";
    return base_;
  }

  std::string mix_, base_;
  const MixModel& model_;
  std::set<int> values_, downs_;  // layers that have one
  bool has_output_ = false;
};

// What a user said about a tensor; empty: nothing.
std::string Override(const MixOverrides& overrides, const MixTensor& tensor,
                     bool tied) {
  for (const auto& [part, format] : overrides.tensors) {
    if (Has(tensor.name, part)) return format;
  }
  const bool embedding = tensor.name == "token_embd.weight";
  if (tensor.name == "output.weight" || (tied && embedding)) {
    if (!overrides.output.empty()) return overrides.output;
  }
  return embedding ? overrides.embedding : std::string();
}

}  // namespace

const std::vector<QuantMix>& QuantMixes() {
  static const auto* mixes = new std::vector<QuantMix>{
      {"F32", "f32", 0, "32 bits a number, exact"},
      {"F16", "f16", 1, "16 bits, 11 of mantissa"},
      {"BF16", "bf16", 32, "16 bits, 8 of mantissa"},
      {"Q8_0", "q8_0", 7, "8.5 bits, hardly any loss"},
      {"Q6_K", "q6_k", 18, "6.6 bits, very little loss"},
      {"Q5_K_M", "q5_k", 17, "5.5 bits, more for half of the values and downs"},
      {"Q5_K_S", "q5_k", 16, "5.5 bits throughout"},
      {"Q5_1", "q5_1", 9, "6 bits in blocks of 32"},
      {"Q5_0", "q5_0", 8, "5.5 bits in blocks of 32"},
      {"Q4_K_M", "q4_k", 15,
       "4.5 bits, more for half of the values and downs; "
       "the usual choice"},
      {"Q4_K_S", "q4_k", 14, "4.5 bits, more for the first values and downs"},
      {"Q4_1", "q4_1", 3, "5 bits in blocks of 32"},
      {"Q4_0", "q4_0", 2, "4.5 bits in blocks of 32, the fastest"},
      {"IQ4_NL", "iq4_nl", 25, "4.5 bits with uneven steps"},
      {"IQ4_XS", "iq4_xs", 30, "4.25 bits with uneven steps"},
      {"MXFP4", "mxfp4", 38, "4.25 bits, E2M1 with powers of two as scales"},
      {"MXFP4_MOE", "mxfp4", 38, "experts in MXFP4, the rest in Q8_0"},
      {"Q3_K_L", "q3_k", 13, "3.4 bits, 5.5 for values, downs and outputs"},
      {"Q3_K_M", "q3_k", 12, "3.4 bits, 4.5 for values, downs and outputs"},
      {"Q3_K_S", "q3_k", 11, "3.4 bits throughout"},
      {"Q2_K", "q2_k", 10, "2.6 bits, 3.4 or more for values and downs"},
      {"Q2_K_S", "q2_k", 21, "2.6 bits nearly throughout"},
  };
  return *mixes;
}

const QuantMix* FindQuantMix(std::string_view name) {
  std::string upper(name);
  for (char& c : upper) {
    c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  if (upper == "Q3_K" || upper == "Q4_K" || upper == "Q5_K") upper += "_M";
  for (const QuantMix& mix : QuantMixes()) {
    if (upper == mix.name) return &mix;
  }
  return nullptr;
}

std::string FittingFormat(const std::string& format, int64_t k) {
  const Format* wanted = FindFormat(format);
  CHECK(wanted != nullptr) << format;
  if (k % wanted->block() == 0) return format;
  std::string next = "f16";
  if (wanted->block() > 32) {
    next = format == "q4_k"   ? "q5_0"
           : format == "q5_k" ? "q5_1"
           : format == "q6_k" ? "q8_0"
                              : "iq4_nl";
  }
  return FittingFormat(next, k);
}

std::vector<MixChoice> ChooseFormats(const QuantMix& mix, const MixModel& model,
                                     const MixOverrides& overrides,
                                     std::span<const MixTensor> tensors) {
  const Rules rules(mix, model, tensors);
  const bool tied = std::ranges::none_of(tensors, [](const MixTensor& tensor) {
    return tensor.name == "output.weight";
  });
  std::vector<MixChoice> choices;
  for (const MixTensor& tensor : tensors) {
    MixChoice& choice = choices.emplace_back();
    if (!Quantisable(tensor)) continue;
    if (overrides.keep_output && tensor.name == "output.weight") continue;
    std::string format = Override(overrides, tensor, tied);
    if (format.empty()) {
      format = overrides.pure ? mix.format : rules.Choose(tensor);
    }
    choice.format = FittingFormat(format, tensor.shape[-1]);
    if (choice.format != format) choice.wanted = format;
  }
  return choices;
}

}  // namespace intarsia
