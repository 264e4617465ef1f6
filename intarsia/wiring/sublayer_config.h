// SublayerConfig: how a mixer joins the residual, as data.
#pragma once

#include <string>
#include <vector>

#include "intarsia/core/fields.h"
#include "intarsia/ops/norm/norm.h"

namespace intarsia {

// What a sublayer's mixer works on.
enum class SublayerInput : uint8_t {
  kResidual,  // the residual so far
  kBlock,     // the residual as it came into the block: a parallel residual
  kPrevious,  // what the sublayer before worked on, already normed
};

// A mixer as a part of another: {"mixer": ..., "config": {...}}.
struct PartConfig {
  std::string mixer;          // the name of a primitive: "attention", "glu"
  std::string config = "{}";  // the mixer's own JSON object, as text

  void Visit(Fields& f);
};

// x ← x + residual_scale · post_norm(mixer(pre_norm(input))).
struct SublayerConfig {
  std::string mixer, config = "{}";  // as PartConfig has them
  NormConfig pre_norm;  // before the mixer; none of its own with kPrevious
  float residual_scale = 1.0f;
  NormConfig post_norm = {.kind = NormConfig::Kind::kNone};
  SublayerInput input = SublayerInput::kResidual;
  // The result takes the residual's place instead of being added.
  bool replace = false;

  // Named values of the model, [T, width] each: "embedding" is what the
  // blocks begin with, others are those that sublayers before wrote.
  struct Named {
    std::string name;
    int dim = 0;
    void Visit(Fields& f);
  };
  std::vector<Named> concat = {};  // joined to the input, before pre_norm
  // Another residual stream than the model's, D wide, in its place: read by
  // input kResidual, and written. Empty: the model's.
  std::string from = {}, to = {};
  std::string save_as = {};  // the residual after this sublayer under a name

  // `first`: no sublayer stands before it.
  void Visit(Fields& f, bool first);

  int concat_width() const {
    int width = 0;
    for (const Named& named : concat) width += named.dim;
    return width;
  }
};

// "sublayers": a list of 1 to 256.
void VisitSublayers(Fields& f, std::vector<SublayerConfig>* sublayers);

}  // namespace intarsia
