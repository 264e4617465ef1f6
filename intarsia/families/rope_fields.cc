#include "intarsia/families/rope_fields.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/ops/rope/rope.h"

namespace intarsia {
namespace {

constexpr char kFreqs[] = "rope_freqs.weight";
constexpr char kLong[] = "rope_factors_long.weight";
constexpr char kShort[] = "rope_factors_short.weight";

// Which fields each kind of scaling has, beside its type.
bool Scales(const std::string& type) { return type != "default"; }
bool HasOriginal(const std::string& type) {
  return type == "llama3" || type == "yarn" || type == "longrope";
}

// One set of parameters, flat.
class RopeFields {
 public:
  RopeFields(const Json& json, const RopeDefaults& defaults, const char* path)
      : json_(json),
        defaults_(defaults),
        path_(path),
        reader_(json, defaults.family, {.path = path}) {}

  Result<Json> Read(double theta, double partial, int original,
                    std::vector<std::string>* warnings) {
    const std::string type = Type();
    Json rope = {{"theta", reader_.NumberOr("rope_theta", theta)}};
    reader_.RequireField(reader_.NumberOr("rope_theta", 1.0) > 0, "rope_theta",
                         "positive");
    partial = reader_.NumberOr("partial_rotary_factor", partial);
    reader_.RequireField(partial >= 0 && partial <= 1, "partial_rotary_factor",
                         "in [0, 1]");
    partial = std::clamp(partial, 0.0, 1.0);  // it becomes a whole number
    int dim = defaults_.head_dim;
    if (type != "proportional" && partial < 1) {
      if (Scales(type) || defaults_.partial) {
        dim = static_cast<int>(dim * partial);
        reader_.RequireField(dim > 0 && dim % 2 == 0, "partial_rotary_factor",
                             "a share of a head's " +
                                 std::to_string(defaults_.head_dim) +
                                 " channels that makes pairs");
        rope["dim"] = dim;
      } else {
        warnings->push_back(
            "\"partial_rotary_factor\" is not used: without a scaling, " +
            std::string(defaults_.family) + " models turn all channels");
      }
    }
    pairs_ = dim / 2;
    if (Scales(type)) rope["scaling"] = Scaling(type, partial, original);
    for (const std::string& name : reader_.Unread()) {
      warnings->push_back("\"" + path_ + "." + Printable(name) +
                          "\" is not used");
    }
    RETURN_IF_ERROR(reader_.status());
    return rope;
  }

 private:
  std::string Type() {
    std::string type = reader_.StringOr("type", "default");
    type = reader_.StringOr("rope_type", type);
    if (type == "su") type = "longrope";  // its first name
    for (const char* known : {"default", "linear", "dynamic", "llama3", "yarn",
                              "longrope", "proportional"}) {
      if (type == known) return type;
    }
    reader_.Require(false,
                    "rotary scaling of type " + Json(type).dump() +
                        " is not supported; default, linear, dynamic, llama3, "
                        "yarn, longrope and proportional are",
                    StatusCode::kUnsupported);
    return "default";
  }

  Json Scaling(const std::string& type, double partial, int original) {
    Json scaling = {{"type", type}};
    const double ratio = ReadLengths(type, original, &scaling);
    ReadFactor(type, ratio, &scaling);
    if (type == "llama3") {
      for (const char* name : {"low_freq_factor", "high_freq_factor"}) {
        reader_.RequireField(reader_.Find(name) != nullptr, name, "a number");
        scaling[name] = reader_.NumberOr(name, 0.0);
      }
    } else if (type == "yarn") {
      // Python's "or" and "and": 0 is as good as nothing.
      for (const char* name :
           {"beta_fast", "beta_slow", "mscale", "mscale_all_dim"}) {
        const double value = reader_.NumberOr(name, 0.0);
        if (value != 0) scaling[name] = value;
      }
      // Here null is false.
      const bool null =
          json_.contains("truncate") && json_["truncate"].is_null();
      if (!reader_.BoolOr("truncate", !null)) scaling["truncate"] = false;
    } else if (type == "longrope") {
      for (const char* name : {"short_factor", "long_factor"}) {
        const Json* list = reader_.List(name);
        if (list == nullptr) continue;
        scaling[name] = *list;
        const bool right = static_cast<int>(list->size()) == pairs_ &&
                           std::ranges::all_of(*list, [](const Json& value) {
                             return value.is_number() && value.get<float>() > 0;
                           });
        reader_.RequireField(right, name,
                             "a list of " + std::to_string(pairs_) +
                                 " positive numbers, one a pair of channels");
      }
    } else if (type == "proportional") {
      scaling["proportion"] = partial;
    }
    if ((type == "yarn" || type == "longrope") &&
        reader_.Find("attention_factor") != nullptr) {
      const double factor = reader_.NumberOr("attention_factor", 1.0);
      reader_.RequireField(factor >= 0, "attention_factor", "at least 0");
      scaling["attention_factor"] = factor;
    }
    return scaling;
  }

  // The original length; returns how much longer the model's is, 0 where that
  // is not told.
  double ReadLengths(const std::string& type, int original, Json* scaling) {
    if (type == "dynamic") {
      (*scaling)["original_max_positions"] = defaults_.max_positions;
    }
    if (!HasOriginal(type)) return 0;
    const double within = reader_.NumberOr("original_max_position_embeddings",
                                           defaults_.max_positions);
    const bool whole =
        within >= 1 && within <= (1 << 30) && within == std::floor(within);
    reader_.RequireField(whole, "original_max_position_embeddings",
                         "a whole number from 1 to 2^30");
    if (original == 0) original = whole ? static_cast<int>(within) : 1;
    (*scaling)["original_max_positions"] = original;
    return defaults_.max_positions / std::max(1.0, double(original));
  }

  void ReadFactor(const std::string& type, double ratio, Json* scaling) {
    const bool may_lack = type == "proportional" || ratio > 0;
    const bool given = reader_.Find("factor") != nullptr;
    reader_.RequireField(given || (may_lack && type != "llama3"), "factor",
                         "a number");
    const double factor = reader_.NumberOr("factor", ratio > 0 ? ratio : 1.0);
    reader_.RequireField(factor > 0, "factor", "positive");
    (*scaling)["factor"] = factor;
  }

  const Json& json_;
  const RopeDefaults& defaults_;
  const std::string path_;
  int pairs_ = 0;  // that turn
  JsonReader reader_;
};

void AddNew(const std::vector<std::string>& lines,
            std::vector<std::string>* warnings) {
  for (const std::string& line : lines) {
    if (std::ranges::count(*warnings, line) == 0) warnings->push_back(line);
  }
}

}  // namespace

Json RopeFromConfig(JsonReader* reader, const RopeDefaults& defaults,
                    const std::string& layer_type,
                    std::vector<std::string>* warnings) {
  const Json older = reader->ObjectOr("rope_scaling");
  const Json newer = reader->ObjectOr("rope_parameters");
  const bool use_older = !older.empty();
  std::vector<std::string> lines;
  if (use_older && !newer.empty() && older != newer) {
    lines.push_back(
        "\"rope_parameters\" is not used beside \"rope_scaling\", which "
        "counts");
  }
  const double theta = reader->NumberOr("rope_theta", defaults.theta);
  reader->RequireField(theta > 0, "rope_theta", "positive");
  const double partial = reader->NumberOr("partial_rotary_factor", 1.0);
  int original = reader->IntOr("original_max_position_embeddings", 0, 1);
  const Json& all = use_older ? older : newer;
  const bool nested = std::ranges::any_of(
      all, [](const Json& value) { return value.is_object(); });
  std::string path = use_older ? "rope_scaling" : "rope_parameters";
  Json part = all;
  if (nested) {
    reader->Require(
        all.contains(layer_type),
        "\"" + path + "\" are by layer type, and have none for " +
            (layer_type.empty() ? "a model without \"layer_types\""
                                : "layers of type \"" + layer_type + "\""),
        StatusCode::kUnsupported);
    if (!all.contains(layer_type)) return false;
    part = all[layer_type];
    if (part.is_null()) return false;
    path += "." + layer_type;
    original = 0;
  }
  const Json rope = reader->Take(RopeFields(part, defaults, path.c_str())
                                     .Read(theta, partial, original, &lines),
                                 Json(false));
  AddNew(lines, warnings);
  return rope;
}

Json RopeFromGguf(JsonReader* reader, int head_dim, bool interleaved,
                  int max_positions, std::vector<std::string>* warnings) {
  Json rope = {{"theta", reader->NumberOr("rope.freq_base", 10000.0)},
               {"interleaved", interleaved}};
  const int rotated = reader->IntOr("rope.dimension_count", head_dim, 2);
  if (rotated != head_dim) rope["dim"] = rotated;
  reader->RequireField(rope["theta"] > 0, "rope.freq_base", "positive");
  reader->RequireField(
      rotated % 2 == 0 && rotated <= head_dim, "rope.dimension_count",
      "even and at most a head's " + std::to_string(head_dim) + " channels");
  const std::string type = reader->StringOr("rope.scaling.type", "linear");
  double factor = reader->NumberOr("rope.scaling.factor",
                                   reader->NumberOr("rope.scale_linear", 0.0));
  if (factor == 0) factor = 1;
  reader->RequireField(factor > 0, "rope.scaling.factor", "positive");
  const int original =
      reader->IntOr("rope.scaling.original_context_length", max_positions);
  reader->RequireField(original > 0 || (type != "yarn" && type != "longrope"),
                       "rope.scaling.original_context_length", "positive");
  const double attention = reader->NumberOr("rope.scaling.attn_factor", 1.0);
  reader->RequireField(attention >= 0, "rope.scaling.attn_factor",
                       "at least 0");
  reader->Ignore({"rope.scaling.finetuned"});
  // The converter writes two fields of config.json by this one name, and
  // transformers takes one of them alone.
  if (reader->NumberOr("rope.scaling.yarn_attn_factor", 1.0) != 1) {
    warnings->push_back(
        "\"rope.scaling.yarn_attn_factor\" is not used: llama.cpp does not "
        "read it of this architecture either");
  }
  if (type != "yarn") {
    reader->Ignore(
        {"rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow"});
  }
  Json scaling;
  if (type == "linear") {
    if (factor != 1) scaling = {{"type", type}, {"factor", factor}};
  } else if (type == "yarn") {
    // Of how much of the ramp there is.
    reader->Expect("rope.scaling.yarn_ext_factor", 1.0);
    scaling = {
        {"type", type},
        {"factor", factor},
        {"original_max_positions", original},
        {"beta_fast", reader->NumberOr("rope.scaling.yarn_beta_fast", 32)},
        {"beta_slow", reader->NumberOr("rope.scaling.yarn_beta_slow", 1)}};
    for (const char* beta : {"fast", "slow"}) {
      reader->RequireField(scaling["beta_" + std::string(beta)] > 0,
                           "rope.scaling.yarn_beta_" + std::string(beta),
                           "positive");
    }
    const double all =
        reader->NumberOr("rope.scaling.yarn_log_multiplier", 0.0);
    if (all != 0) {
      scaling["mscale"] = 1.0;
      scaling["mscale_all_dim"] = all;
    }
    if (attention != 1) {
      RopeConfig config;
      config.scaling = RopeConfig::Scaling::kYarn;
      config.factor = factor;
      config.mscale = all == 0 ? 0.0 : 1.0;
      config.mscale_all_dim = all;
      scaling["attention_factor"] = RopeScale(config) * attention;
    }
  } else if (type == "longrope") {
    reader->Require(factor == 1,
                    "\"rope.scaling.factor\" beside type \"longrope\" is not "
                    "supported",
                    StatusCode::kUnsupported);
    scaling = {{"type", type}, {"original_max_positions", original}};
  } else {
    reader->Require(type == "none",
                    "\"rope.scaling.type\" " + Json(type).dump() +
                        " is not supported; none, linear, yarn and longrope "
                        "are",
                    StatusCode::kUnsupported);
  }
  if (type != "yarn" && (attention != 1 || type == "longrope")) {
    if (scaling.is_null()) scaling["type"] = "none";
    scaling["attention_factor"] = attention;
  }
  if (!scaling.is_null()) rope["scaling"] = scaling;
  return rope;
}

bool IsGgufRopeTensor(const std::string& name) {
  return name == kFreqs || name == kLong || name == kShort;
}

namespace {

// The divisors in a tensor of the file; empty where it has none.
Result<std::vector<float>> ReadDivisors(const Checkpoint& file,
                                        const char* name) {
  const StoredTensor* stored = file.Find(name);
  if (stored == nullptr) return std::vector<float>();
  const std::string where =
      "[load] " + file.path() + ": tensor " + std::string(name) + " ";
  if (stored->shape.rank() != 1) {
    return InvalidArgument(where + stored->shape.ToString() +
                           " must be a list of one number a pair of channels");
  }
  ASSIGN_OR_RETURN(const Tensor values, stored->AsTensor());
  std::vector<float> divisors = values.To(DType::kF32).ToVector<float>();
  if (std::ranges::any_of(
          divisors, [](float f) { return !std::isfinite(f) || f <= 0; })) {
    return InvalidArgument(where +
                           "must hold finite numbers above 0, which divide "
                           "the frequencies of pairs");
  }
  return divisors;
}

// Within which a model was trained, by GGUF's key or the whole context.
int OriginalLength(const Checkpoint& file, const FamilyModel& model) {
  const std::string key =
      file.config().value("general.architecture", std::string()) +
      ".rope.scaling.original_context_length";
  const Json value = file.config().value(key, Json());
  return value.is_number_integer() ? std::max(1, value.get<int>())
                                   : std::max(1, model.config.max_positions);
}

}  // namespace

Status AddGgufRopeTensors(const Checkpoint& file, FamilyModel* model) {
  ASSIGN_OR_RETURN(const std::vector<float> freqs, ReadDivisors(file, kFreqs));
  ASSIGN_OR_RETURN(const std::vector<float> past, ReadDivisors(file, kLong));
  ASSIGN_OR_RETURN(const std::vector<float> near, ReadDivisors(file, kShort));
  const std::string where = "[load] " + file.path() + ": ";
  const bool by_length = file.Find(kLong) != nullptr;
  if (by_length != (file.Find(kShort) != nullptr)) {
    return InvalidArgument(where + "of the tensors " + kLong + " and " +
                           kShort + " one is missing");
  }
  const bool any = by_length || file.Find(kFreqs) != nullptr;
  if (by_length && file.Find(kFreqs) != nullptr) {
    return InvalidArgument(where + "there are both " + kFreqs + " and " +
                           kLong + "; a model has one or the other");
  }
  int turned = 0;
  for (BlockConfig& block : model->config.blocks) {
    for (SublayerConfig& sublayer : block.sublayers) {
      if (sublayer.mixer != "attention") continue;
      Json config = Json::parse(sublayer.config);
      Json& rope = config["rope"];
      if (!rope.is_object()) continue;
      Json& scaling = rope["scaling"];
      // llama.cpp takes the two lists whatever the type, and the converter of
      // Phi-3 writes none.
      if (by_length && (scaling.is_null() || scaling["type"] == "none")) {
        const Json attention =
            scaling.is_null() ? Json(1.0) : scaling["attention_factor"];
        scaling = {{"type", "longrope"},
                   {"original_max_positions", OriginalLength(file, *model)},
                   {"attention_factor", attention}};
      }
      const bool longrope =
          scaling.is_object() && scaling["type"] == "longrope";
      if (longrope && !by_length) {
        return InvalidArgument(where +
                               "scaling of type longrope needs the "
                               "tensors " +
                               kLong + " and " + kShort);
      }
      if (!any) {
        if (scaling.is_null()) rope.erase("scaling");
        continue;
      }
      const int64_t pairs = rope.value("dim", config.value("head_dim", 0)) / 2;
      const auto given =
          static_cast<int64_t>(by_length ? past.size() : freqs.size());
      if (given != pairs || (by_length && near.size() != past.size())) {
        return InvalidArgument(
            where + "tensor " + (by_length ? kLong : kFreqs) + " holds " +
            std::to_string(given) + " numbers, a head turns " +
            std::to_string(pairs) + " pairs");
      }
      ++turned;
      if (!by_length) {
        rope["factors"] = freqs;
      } else if (!longrope) {
        return Unsupported(where + "tensor " + kLong +
                           " beside a scaling other than longrope");
      } else {
        scaling["short_factor"] = near;
        scaling["long_factor"] = past;
      }
      if (scaling.is_null()) rope.erase("scaling");
      sublayer.config = config.dump();
    }
  }
  if (any && turned == 0) {
    return Unsupported(where + "tensor " + (by_length ? kLong : kFreqs) +
                       " turns channels, and the model turns none");
  }
  return Status::Ok();
}

}  // namespace intarsia
