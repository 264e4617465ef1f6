#include "intarsia/formats/common/test_rows.h"

#include <cmath>

#include "intarsia/core/random.h"

namespace intarsia::formats {

std::string NameOf(Integers integers) {
  switch (integers) {
    case Integers::kBest:
      return "Best";
    case Integers::kVnni:
      return "Vnni";
    case Integers::kMadd:
      return "Madd";
    case Integers::kNone:
      return "None";
  }
  return "";
}

std::vector<float> TestValues(int64_t k, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(k);
  float size = 1;
  for (int64_t i = 0; i < k; ++i) {
    if (i % 32 == 0) size = std::exp2(random.NextUniform() * 16 - 8);
    values[i] = random.NextNormal() * size;
  }
  return values;
}

}  // namespace intarsia::formats
