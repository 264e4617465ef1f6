#include "intarsia/eval/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <set>

#include "intarsia/formats/common/paths.h"

namespace intarsia {
namespace {

std::vector<KernelRow> Quick(const std::string& name) {
  KernelOptions options;
  options.name = name;
  options.threads = 2;
  options.repeats = 1;
  options.quick = true;
  const auto rows = MeasureKernels(options, nullptr);
  EXPECT_TRUE(rows.ok()) << rows.status().message();
  return rows.ok() ? *rows : std::vector<KernelRow>();
}

// The first name of each line, but those of mixers made of mixers.
std::set<std::string> Registered(const std::string& file) {
  std::ifstream in(file);
  std::set<std::string> names;
  for (std::string line; std::getline(in, line);) {
    const size_t open = line.find('('), end = line.find_first_of(",)");
    if (line.ends_with("kMixers)")) continue;
    if (open < end) names.insert(line.substr(open + 1, end - open - 1));
  }
  EXPECT_FALSE(names.empty()) << file;
  return names;
}

TEST(KernelsTest, EveryRoomGivesRowsAndTheyAreRight) {
  std::set<std::string> rooms, formats, all;
  for (const KernelRow& row : Quick("")) {
    EXPECT_TRUE(all.insert(row.name).second) << row.name << " comes twice";
    EXPECT_EQ(row.skipped, "") << row.name;
    EXPECT_TRUE(row.right()) << row.name << " errs by " << row.max_error;
    EXPECT_GT(row.seconds, 0) << row.name;
    EXPECT_GT(row.bytes_per_second, 0) << row.name;
    EXPECT_NE(row.shape, "") << row.name;
    const size_t dot = row.name.find('.');
    rooms.insert(row.name.substr(0, dot));
    if (row.name.starts_with("matmul.")) {
      formats.insert(row.name.substr(dot + 1, row.name.rfind('.') - dot - 1));
    }
  }
  for (const char* kind : {"ops", "mixers"}) {
    const std::string folder = std::string("intarsia/") + kind;
    for (const std::string& room : Registered(folder + "/registry.def")) {
      EXPECT_TRUE(rooms.count(room))
          << room << " has no " << room << "_bench.cc";
    }
  }
  for (const std::string& name : Registered("intarsia/formats/registry.def")) {
    EXPECT_TRUE(formats.count(name)) << name;
  }
}

TEST(KernelsTest, ANameChoosesARoomARowOrAPart) {
  EXPECT_EQ(Quick("norm").size(), 2u);
  EXPECT_EQ(Quick("norm.rms").size(), 1u);
  for (const KernelRow& row : Quick("q4_0")) {
    EXPECT_NE(row.name.find(".q4_0"), std::string::npos) << row.name;
  }
  const auto none = MeasureKernels({.name = "no-such", .device = {}}, nullptr);
  ASSERT_FALSE(none.ok());
  for (const char* name : {"no-such", "norm.rms", "moe.decode"}) {
    EXPECT_NE(none.status().message().find(name), std::string::npos) << name;
  }
}

TEST(KernelsTest, AWrongResultShows) {
  const Tensor got = Tensor::From(std::vector<float>{1, 2, 3, 4}, {4});
  const auto error = [&](std::vector<double> want) {
    return CheckedRun([got] { return got; }, [want] { return want; }).check();
  };
  EXPECT_EQ(error({1, 2, 3, 4}), 0);
  EXPECT_EQ(error({1, 2}), 0);  // a prefix
  EXPECT_NEAR(error({1, 2, 3, 5}), 1 / std::sqrt(2.1875), 1e-12);
  EXPECT_TRUE(std::isnan(error({1, NAN})));
  KernelRow row;
  row.tolerance = 1;
  row.max_error = NAN;
  EXPECT_FALSE(row.right());
}

TEST(KernelsTest, PeaksArePositive) {
  EXPECT_GT(MeasureFmaPeak(1), 1e8);
  if (formats::HasVnni() || formats::HasMadd()) {
    EXPECT_GT(MeasureIntegerPeak(1), 1e8);
  } else {
    EXPECT_EQ(MeasureIntegerPeak(1), 0);
  }
}

}  // namespace
}  // namespace intarsia
