#include "intarsia/wiring/sublayer_config.h"

namespace intarsia {
namespace {

void VisitPart(Fields& f, std::string* mixer, std::string* config) {
  f.String("mixer", mixer);
  f.RequireField(!mixer->empty(), "mixer",
                 "the name of a primitive (see `intarsia list`)");
  f.Text("config", config, "mixer");
}

}  // namespace

void PartConfig::Visit(Fields& f) { VisitPart(f, &mixer, &config); }

void SublayerConfig::Named::Visit(Fields& f) {
  f.String("name", &name);
  f.Int("dim", &dim, {1, 1 << 20});
}

void SublayerConfig::Visit(Fields& f, bool first) {
  VisitPart(f, &mixer, &config);
  f.NumberOr("residual_scale", &residual_scale);
  static constexpr ChoiceName kInputs[] = {
      {"residual", SublayerInput::kResidual},
      {"block", SublayerInput::kBlock},
      {"previous", SublayerInput::kPrevious}};
  f.ChoiceOr("input", &input, kInputs);
  static constexpr ChoiceName kOutputs[] = {{"add", false}, {"replace", true}};
  f.ChoiceOr("output", &replace, kOutputs);
  const bool previous = input == SublayerInput::kPrevious;
  f.RequireField(!previous || !first, "input",
                 "another than \"previous\" where no sublayer stands before");

  if (previous && !f.writing()) pre_norm.kind = NormConfig::Kind::kNone;
  const char* pre = f.Either("pre_norm", "norm");
  f.Object(pre, &pre_norm);
  f.RequireField(!previous || pre_norm.kind == NormConfig::Kind::kNone, pre,
                 "{\"type\": \"none\"} where \"input\" is normed already");
  f.Object("post_norm", &post_norm);

  f.StringOr("from", &from);
  f.RequireField(from.empty() || input == SublayerInput::kResidual, "input",
                 "\"residual\" beside \"from\"");
  f.StringOr("to", &to);
  f.StringOr("save_as", &save_as);
  f.RequireField(to != "embedding", "to",
                 "another than \"embedding\", which stays as it is");
  f.RequireField(save_as != "embedding", "save_as",
                 "another than \"embedding\", which stays as it is");
  f.List("concat", &concat, {0, 16});
  f.RequireField(concat.empty() || !previous, "concat",
                 "absent where \"input\" is \"previous\"");
}

void VisitSublayers(Fields& f, std::vector<SublayerConfig>* sublayers) {
  f.List("sublayers", sublayers, {1, 256},
         [sublayers](Fields& g, SublayerConfig* sublayer) {
           sublayer->Visit(g, sublayer == sublayers->data());
         });
}

}  // namespace intarsia
