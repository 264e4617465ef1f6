// A product in any weight format errs no more than llama.cpp's in that format.
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <set>

#include "intarsia/formats/common/paths.h"
#include "tests/products/problem.h"

namespace intarsia {
namespace {

struct Recorded {
  const char* name;
  double error;
};
void PrintTo(const Recorded& recorded, std::ostream* out) {
  *out << recorded.name;
}

const Recorded kRecorded[] = {
#include "tests/products/llama_cpp.inc"
};

class ProductsTest : public testing::TestWithParam<Recorded> {};

// The rounding of sums in fp32, which is all that f32 errs by in either.
constexpr double kRounding = 5e-7;

// On every path that this build and processor have, as stored and as packed.
TEST_P(ProductsTest, ErrNoMoreThanLlamaCpp) {
  using formats::Integers;
  const ProductProblem problem(*FindFormat(GetParam().name));
  const double most = std::max(GetParam().error, kRounding);
  for (const Integers integers : formats::EachIntegersForTest()) {
    formats::SetIntegersForTest(integers);
    EXPECT_LE(problem.RelativeError(problem.Product()), most);
    if (problem.packs()) {
      EXPECT_LE(problem.RelativeError(problem.PackedProduct()), most);
    }
  }
  formats::SetIntegersForTest(Integers::kNone);
  for (const std::string& target : formats::EachSimdTarget()) {
    formats::SetSimdTargetForTest(target);
    EXPECT_LE(problem.RelativeError(problem.Product()), most) << target;
  }
  formats::SetSimdTargetForTest("");
  formats::SetIntegersForTest(Integers::kBest);
}

INSTANTIATE_TEST_SUITE_P(Types, ProductsTest, testing::ValuesIn(kRecorded),
                         [](const auto& info) {
                           return std::string(info.param.name);
                         });

TEST(Products, EveryFormatOfGgmlIsRecorded) {
  std::set<std::string> names{"f8_e4m3_128"};  // not GGML's
  for (const Recorded& recorded : kRecorded) names.insert(recorded.name);
  for (const Format* format : AllFormats()) {
    EXPECT_TRUE(names.contains(std::string(format->name()))) << format->name();
  }
}

}  // namespace
}  // namespace intarsia
