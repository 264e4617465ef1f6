#include "intarsia/families/hybrid_parts.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "intarsia/core/json_fields.h"

namespace intarsia {

void Mamba2Part::Compose(int conv_width, double eps) {
  config = {
      {"heads", heads},   {"head_dim", head_dim},     {"state_dim", state},
      {"groups", groups}, {"conv_width", conv_width}, {"conv_bias", conv_bias},
      {"bias", bias},     {"norm_eps", eps},          {"norm_groups", groups}};
  if (!norm) config["norm"] = false;
}

namespace {

// Two numbers; JSON has no infinity, files say {"__float__": "Infinity"}.
void ReadLimit(JsonReader* reader, Mamba2Part* part) {
  const Json* limit = reader->Find("time_step_limit");
  if (limit == nullptr) return;
  const bool pair = limit->is_array() && limit->size() == 2;
  const Json low = pair ? (*limit)[0] : Json(), high = pair ? (*limit)[1] : low;
  const Json infinity = {{"__float__", "Infinity"}};
  reader->RequireField(low.is_number() && (high.is_number() || high.is_null() ||
                                           high == infinity),
                       "time_step_limit", "two numbers");
  if (low.is_number()) part->config["dt_min"] = low;
  if (high.is_number()) part->config["dt_max"] = high;
}

// Consecutive rows of one tensor.
using Parts = std::initializer_list<std::pair<const char*, int64_t>>;
void Split(const std::string& ours, const std::string& foreign,
           const std::string& end, const Parts& parts, int unsqueeze,
           std::vector<TensorMap>* maps) {
  int64_t row = 0;
  for (const auto& [native, rows] : parts) {
    maps->push_back({.native = ours + native + end,
                     .foreign = foreign,
                     .row_begin = row,
                     .row_end = row + rows,
                     .unsqueeze = unsqueeze});
    row += rows;
  }
}

}  // namespace

Mamba2Part ReadMamba2Part(JsonReader* reader, int64_t inner, double eps) {
  Mamba2Part part;
  part.heads = reader->IntOr("mamba_n_heads", 128, 1, 1 << 14);
  const Json* head_dim = reader->Find("mamba_d_head");
  if (head_dim != nullptr && *head_dim != "auto") {
    part.head_dim = reader->Int("mamba_d_head", 1, 1 << 12);
  } else {
    reader->Require(inner % part.heads == 0 && inner / part.heads <= 1 << 12,
                    "\"mamba_n_heads\" must divide the inner width");
    part.head_dim = static_cast<int>(std::max<int64_t>(1, inner / part.heads));
  }
  part.groups = reader->IntOr("mamba_n_groups", 1, 1, 1 << 14);
  part.state = reader->IntOr("mamba_d_state", 256, 1, 1 << 12);
  const int conv_width = reader->IntOr("mamba_d_conv", 4, 2, 64);
  part.conv_bias = reader->BoolOr("mamba_conv_bias", true);
  part.bias = reader->BoolOr("mamba_proj_bias", false);
  // How that implementation computes.
  reader->Ignore({"mamba_chunk_size", "mamba_expand"});
  part.Compose(conv_width, eps);
  ReadLimit(reader, &part);
  return part;
}

void MapMamba2(const Mamba2Part& part, const std::string& ours,
               const std::string& theirs, std::vector<TensorMap>* maps) {
  const int64_t inner = int64_t{part.heads} * part.head_dim;
  const int64_t shared = int64_t{part.groups} * part.state;
  const auto map = [&](const std::string& native, const std::string& foreign) {
    maps->push_back({.native = ours + native, .foreign = theirs + foreign});
  };
  const auto split = [&](const char* foreign, const char* end,
                         const Parts& parts, int unsqueeze = -1) {
    Split(ours, theirs + foreign, end, parts, unsqueeze, maps);
  };
  const Parts in = {{"in_z", inner},
                    {"in_x", inner},
                    {"in_B", shared},
                    {"in_C", shared},
                    {"in_dt", part.heads}};
  const Parts conv = {
      {"conv_x", inner}, {"conv_B", shared}, {"conv_C", shared}};
  split("in_proj.weight", "", in);
  split("conv1d.weight", "", conv, 1);
  if (part.conv_bias) split("conv1d.bias", "_bias", conv);
  map("A_log", "A_log");
  map("D", "D");
  map("dt_bias", "dt_bias");
  if (part.norm) map("norm", "norm.weight");
  map("out_proj", "out_proj.weight");
  if (!part.bias) return;
  split("in_proj.bias", "_bias", in);
  map("out_bias", "out_proj.bias");
}

void MambaPart::Compose(int conv_width, const NormConfig& norm) {
  norms = norm.kind != NormConfig::Kind::kNone && norm.affine;
  config = {{"inner", inner},
            {"state_dim", state},
            {"dt_rank", rank},
            {"conv_width", conv_width},
            {"conv_bias", conv_bias},
            {"bias", bias},
            {"norm",
             WriteFields([norm = norm](Fields& f) mutable { norm.Visit(f); })}};
}

int ReadStepRank(JsonReader* reader, const std::string& name, int dim) {
  const Json* rank = reader->Find(name);
  if (rank == nullptr || *rank == "auto") return (dim + 15) / 16;
  return reader->Int(name, 1, 1 << 16);
}

void MapPairs(const std::string& ours, const std::string& theirs,
              const NamePairs& pairs, std::vector<TensorMap>* maps) {
  for (const auto& [native, foreign] : pairs) {
    maps->push_back({.native = ours + native, .foreign = theirs + foreign});
  }
}

void MapMamba(const MambaPart& part, const std::string& ours,
              const std::string& theirs, std::vector<TensorMap>* maps) {
  const Parts in = {{"in_x", part.inner}, {"in_z", part.inner}};
  Split(ours, theirs + "in_proj.weight", "", in, -1, maps);
  maps->push_back({.native = ours + "conv_x",
                   .foreign = theirs + "conv1d.weight",
                   .unsqueeze = 1});
  Split(ours, theirs + "x_proj.weight", "",
        {{"x_dt", part.rank}, {"x_B", part.state}, {"x_C", part.state}}, -1,
        maps);
  MapPairs(ours, theirs,
           {{"dt_proj", "dt_proj.weight"},
            {"dt_bias", "dt_proj.bias"},
            {"A_log", "A_log"},
            {"D", "D"},
            {"out_proj", "out_proj.weight"}},
           maps);
  if (part.conv_bias) {
    MapPairs(ours, theirs, {{"conv_x_bias", "conv1d.bias"}}, maps);
  }
  if (part.norms) {
    MapPairs(ours, theirs,
             {{"dt_norm", "dt_layernorm.weight"},
              {"B_norm", "b_layernorm.weight"},
              {"C_norm", "c_layernorm.weight"}},
             maps);
  }
  if (!part.bias) return;
  Split(ours, theirs + "in_proj.bias", "_bias", in, -1, maps);
  MapPairs(ours, theirs, {{"out_bias", "out_proj.bias"}}, maps);
}

Json NormJson(NormConfig norm) {
  return WriteFields([&](Fields& f) { norm.Visit(f); });
}

NormConfig NoNorm() { return {.kind = NormConfig::Kind::kNone}; }

}  // namespace intarsia
