#include "intarsia/families/rope_fields.h"

#include <string>

namespace intarsia {

using Json = nlohmann::json;

Json RopeFromConfig(JsonReader* reader) {
  Json parameters = reader->ObjectOr("rope_parameters");
  const Json old_scaling = reader->ObjectOr("rope_scaling");
  if (parameters.empty()) {
    parameters = old_scaling;
    parameters["rope_theta"] = reader->NumberOr("rope_theta", 10000.0);
  } else {
    reader->Ignore({"rope_theta"});
  }
  Json rope = {{"theta", parameters.value("rope_theta", Json(10000.0))}};
  const Json type =
      parameters.value("rope_type", parameters.value("type", Json("default")));
  if (type == "default") return rope;
  Json scaling = parameters;
  scaling.erase("rope_theta");
  scaling.erase("rope_type");
  scaling["type"] = type;
  if (scaling.contains("original_max_position_embeddings")) {
    scaling["original_max_positions"] =
        scaling["original_max_position_embeddings"];
    scaling.erase("original_max_position_embeddings");
  }
  rope["scaling"] = scaling;
  return rope;
}

Json RopeFromGguf(JsonReader* reader, int head_dim, bool interleaved) {
  Json rope = {{"theta", reader->NumberOr("rope.freq_base", 10000.0)},
               {"interleaved", interleaved}};
  const int rotated = reader->IntOr("rope.dimension_count", head_dim, 2);
  if (rotated != head_dim) rope["dim"] = rotated;
  const std::string scaling = reader->StringOr("rope.scaling.type", "none");
  const double factor = reader->NumberOr("rope.scaling.factor", 1.0);
  if (scaling == "linear") {
    rope["scaling"] = {{"type", "linear"}, {"factor", factor}};
  } else {
    reader->Expect("rope.scaling.type", "none");
  }
  return rope;
}

}  // namespace intarsia
