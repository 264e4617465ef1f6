// What can be tested of the GPU's benchmarks without a GPU: the list of cases,
// and the arithmetic of their checks.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <set>

#include "intarsia/core/check.h"
#include "intarsia/cuda/bench/device_data.h"
#include "intarsia/cuda/bench/kernel_case.h"

namespace intarsia::bench {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<GpuCase> All(bool quick) {
  std::vector<GpuCase> all;
  for (const GpuCases cases : AllGpuCases()) {
    for (GpuCase& c : cases(quick)) all.push_back(std::move(c));
  }
  return all;
}

TEST(GpuCasesTest, EveryKernelIsCheckedAndShownAndNoCaseComesTwice) {
  for (const bool quick : {false, true}) {
    std::set<std::string> names, shown, checked, all;
    for (const GpuCase& c : All(quick)) {
      EXPECT_TRUE(all.insert(c.name + " " + c.shape).second)
          << c.name << " " << c.shape;
      EXPECT_GT(c.bytes, 0) << c.name << " " << c.shape;
      EXPECT_NE(c.prepare, nullptr) << c.name;
      EXPECT_NE(c.name.find(".sm90."), std::string::npos) << c.name;
      names.insert(c.name);
      if (c.use == GpuCase::Use::kTable) shown.insert(c.name);
      if (c.use == GpuCase::Use::kChecked) checked.insert(c.name);
    }
    for (const std::string& name : names) {
      // Variants that a user does not choose are not shown.
      const bool variant = name.ends_with(".walk") || name.ends_with(".chunks");
      EXPECT_EQ(shown.count(name), variant ? 0u : 1u) << name;
      EXPECT_EQ(checked.count(variant                       ? name
                              : names.count(name + ".walk") ? name + ".walk"
                                                            : name),
                1u)
          << name;
    }
  }
}

TEST(GpuCasesTest, EveryRoomWithATunedKernelHasCases) {
  std::set<std::string> with_cases;
  for (const GpuCase& c : All(true)) {
    with_cases.insert(c.name.substr(0, c.name.find('.')));
  }
  int rooms = 0;
  for (const char* kind : {"ops", "mixers", "channel_mixers"}) {
    for (const auto& room :
         std::filesystem::directory_iterator(std::string("intarsia/") + kind)) {
      bool tuned = false;
      if (!room.is_directory()) continue;
      for (const auto& file : std::filesystem::directory_iterator(room)) {
        tuned |= file.path().filename().string().starts_with("sm90_") &&
                 file.path().extension() == ".cu";
      }
      if (!tuned) continue;
      ++rooms;
      EXPECT_TRUE(with_cases.count(room.path().filename().string()))
          << room.path();
    }
  }
  EXPECT_GT(rooms, 5);
}

TEST(ErrorNormTest, RelativeAndLargest) {
  ErrorNorm norm;
  norm.Add(3, 3);
  norm.Add(5, 4);
  EXPECT_DOUBLE_EQ(norm.Relative("x", 1).error, 1.0 / 5);
  EXPECT_DOUBLE_EQ(norm.Largest("x", 1).error, 1);
  EXPECT_NE(norm.Relative("x", 1).worst.find("value 1 of 2: 5"),
            std::string::npos);
  EXPECT_TRUE(norm.Relative("x", 0.2).right());
  EXPECT_FALSE(norm.Relative("x", 0.19).right());
}

TEST(ErrorNormTest, WhatIsNoNumberOrMissingNeverPasses) {
  ErrorNorm nothing, nan, size, infinite;
  EXPECT_EQ(nothing.Relative("x", 1).error, kInfinity);
  nan.Add(1, 1);
  nan.Add(std::nan(""), 2);
  nan.Add(7, 2);
  EXPECT_FALSE(nan.Relative("x", 1e9).right());
  EXPECT_NE(nan.Relative("x", 1).worst.find("value 1"), std::string::npos);
  size.Add({1, 2}, {1, 2, 3});
  EXPECT_FALSE(size.Relative("x", 1e9).right());
  infinite.Add(-kInfinity, -kInfinity);  // a row that sees no key
  EXPECT_EQ(infinite.Relative("x", 0).error, 0);
  infinite.Add(0, -kInfinity);
  EXPECT_FALSE(infinite.Largest("x", 1e9).right());
}

TEST(SampleTest, SpansTheWhole) {
  EXPECT_EQ(Sample(3, 8), (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(Sample(101, 3), (std::vector<int64_t>{0, 50, 100}));
  EXPECT_EQ(Sample(9, 1), (std::vector<int64_t>{0}));
  EXPECT_TRUE(Sample(0, 4).empty());
}

TEST(InParallelTest, RunsAllAndPassesErrorsOn) {
  std::vector<int> done(100);
  InParallel(100, [&](int64_t i) { done[i] += 1; });
  EXPECT_EQ(done, std::vector<int>(100, 1));
  EXPECT_THROW(InParallel(4, [](int64_t) { throw EngineError("broken"); }),
               EngineError);
}

}  // namespace
}  // namespace intarsia::bench
