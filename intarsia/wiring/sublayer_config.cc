#include "intarsia/wiring/sublayer_config.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "intarsia/core/json_reader.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

constexpr const char* kInputs[] = {"residual", "block", "previous"};

void ReadInput(JsonReader* reader, SublayerConfig* sublayer) {
  const std::string input = reader->StringOr("input", kInputs[0]);
  const auto found = std::ranges::find(kInputs, input);
  const bool known = found != std::end(kInputs);
  reader->RequireField(known, "input",
                       "\"residual\", \"block\" or \"previous\"");
  if (known) {
    sublayer->input = static_cast<SublayerInput>(found - std::begin(kInputs));
  }
  const std::string output = reader->StringOr("output", "add");
  reader->RequireField(output == "add" || output == "replace", "output",
                       "\"add\" or \"replace\"");
  sublayer->replace = output == "replace";
}

void ReadNorms(JsonReader* reader, const std::string& room,
               const std::string& place, SublayerConfig* sublayer) {
  const bool previous = sublayer->input == SublayerInput::kPrevious;
  if (previous) sublayer->pre_norm.kind = NormConfig::Kind::kNone;
  const Json* pre = reader->Find("pre_norm");
  const Json* norm = reader->Find("norm");  // its name in older files
  reader->Require(pre == nullptr || norm == nullptr,
                  "\"norm\" is another name of \"pre_norm\": give one");
  if (pre == nullptr) pre = norm;
  if (pre != nullptr) {
    sublayer->pre_norm = reader->Take(
        ParseNorm(*pre, room, place + (pre == norm ? ".norm" : ".pre_norm")),
        NormConfig());
    reader->Require(
        !previous || sublayer->pre_norm.kind == NormConfig::Kind::kNone,
        "\"" + place +
            "\" works on what is normed already: its \"pre_norm\" must be "
            "{\"type\": \"none\"}");
  }
  if (const Json* post = reader->Find("post_norm")) {
    sublayer->post_norm = reader->Take(
        ParseNorm(*post, room, place + ".post_norm"), sublayer->post_norm);
  }
}

Status ReadStreams(JsonReader* reader, const std::string& room,
                   const std::string& place, SublayerConfig* sublayer) {
  sublayer->from = reader->StringOr("from", "");
  sublayer->to = reader->StringOr("to", "");
  sublayer->save_as = reader->StringOr("save_as", "");
  reader->Require(
      sublayer->from.empty() || sublayer->input == SublayerInput::kResidual,
      "\"from\" of \"" + place + "\" needs \"input\": \"residual\"");
  for (const std::string* written : {&sublayer->to, &sublayer->save_as}) {
    reader->Require(*written != "embedding",
                    "\"" + place + "\": \"embedding\" stays as it is");
  }
  const Json* list = reader->Find("concat");
  if (list == nullptr) return Status::Ok();
  reader->RequireField(list->is_array() && list->size() <= 16, "concat",
                       "a list of up to 16 named values");
  reader->Require(sublayer->input != SublayerInput::kPrevious,
                  "\"concat\" of \"" + place +
                      "\" cannot join to the input of the sublayer before");
  RETURN_IF_ERROR(reader->status());
  for (const Json& json : *list) {
    JsonReader named(json, room, {.path = place + ".concat"});
    const std::string name = named.String("name");
    sublayer->concat.push_back({name, named.Int("dim", 1, 1 << 20)});
    RETURN_IF_ERROR(named.Finish());
  }
  return Status::Ok();
}

}  // namespace

Json NormJson(const NormConfig& norm) {
  static constexpr const char* kNames[] = {"none", "rms", "layer"};
  return {{"type", kNames[static_cast<int>(norm.kind)]},
          {"eps", norm.eps},
          {"affine", norm.affine},
          {"unit_offset", norm.unit_offset}};
}

Result<SublayerConfig> ParseSublayer(const Json& json, const std::string& room,
                                     const std::string& place, bool first) {
  JsonReader reader(json, room, {.path = place});
  SublayerConfig sublayer;
  sublayer.mixer = reader.String("mixer");
  reader.RequireField(!sublayer.mixer.empty(), "mixer",
                      "the name of a primitive (see `intarsia list`)");
  sublayer.residual_scale =
      static_cast<float>(reader.NumberOr("residual_scale", 1.0));
  ReadInput(&reader, &sublayer);
  reader.Require(sublayer.input != SublayerInput::kPrevious || !first,
                 "\"input\" of \"" + place +
                     "\" is \"previous\", but no sublayer stands before it");
  ReadNorms(&reader, room, place, &sublayer);
  RETURN_IF_ERROR(ReadStreams(&reader, room, place, &sublayer));
  sublayer.config = reader.ObjectOr("config").dump();
  RETURN_IF_ERROR(reader.Finish());
  return sublayer;
}

Json ToJson(const SublayerConfig& sublayer) {
  Json json = {{"mixer", sublayer.mixer},
               {"config", Json::parse(sublayer.config)},
               {"pre_norm", NormJson(sublayer.pre_norm)},
               {"residual_scale", sublayer.residual_scale}};
  if (sublayer.post_norm.kind != NormConfig::Kind::kNone) {
    json["post_norm"] = NormJson(sublayer.post_norm);
  }
  if (sublayer.input != SublayerInput::kResidual) {
    json["input"] = kInputs[static_cast<int>(sublayer.input)];
  }
  if (sublayer.replace) json["output"] = "replace";
  for (const SublayerConfig::Named& named : sublayer.concat) {
    json["concat"].push_back({{"name", named.name}, {"dim", named.dim}});
  }
  for (const auto& [name, value] :
       {std::pair("from", &sublayer.from), std::pair("to", &sublayer.to),
        std::pair("save_as", &sublayer.save_as)}) {
    if (!value->empty()) json[name] = *value;
  }
  return json;
}

Result<std::vector<SublayerConfig>> ParseSublayers(const Json& list,
                                                   const std::string& room,
                                                   const std::string& place) {
  constexpr size_t kMost = 256;
  if (list.size() > kMost) {
    return InvalidArgument("[" + room + "] \"" + place + "\" are more than " +
                           std::to_string(kMost) +
                           "; make several blocks of them");
  }
  std::vector<SublayerConfig> sublayers;
  for (const Json& json : list) {
    ASSIGN_OR_RETURN(
        SublayerConfig parsed,
        ParseSublayer(json, room,
                      place + "[" + std::to_string(sublayers.size()) + "]",
                      sublayers.empty()));
    sublayers.push_back(std::move(parsed));
  }
  return sublayers;
}

}  // namespace intarsia
