// What all sublayers of a model keep, as pools take it.
#pragma once

#include <vector>

#include "intarsia/cache/state_spec.h"
#include "intarsia/model/model.h"

namespace intarsia {

inline std::vector<std::vector<StateSpec>> StateSpecs(const Model& model) {
  std::vector<std::vector<StateSpec>> specs;
  for (const Model::SublayerState& s : model.state()) specs.push_back(s.specs);
  return specs;
}

}  // namespace intarsia
