#include "intarsia/core/kernel_report.h"

#include <gtest/gtest.h>

#include "intarsia/core/batch.h"
#include "intarsia/core/check.h"
#include "intarsia/core/context.h"

namespace intarsia {
namespace {

struct Args {
  int width = 0;
  std::string ran;
};

constexpr Kernel<Args> kKernels[] = {
    {"fastest",
     [](const Args& a) {
       return a.width == 64 ? Status::Ok() : Unsupported("a width of 64");
     },
     [](Context&, Args& a) { a.ran = "fastest"; }},
    {"fast",
     [](const Args& a) {
       return a.width % 8 == 0 ? Status::Ok() : Unsupported("a width by 8");
     },
     [](Context&, Args& a) { a.ran = "fast"; }},
    {"plain", [](const Args&) { return Status::Ok(); },
     [](Context&, Args& a) { a.ran = "plain"; }},
};

std::string Ran(int width, KernelReport* report) {
  Context ctx;
  Args args{width, ""};
  RunFirst(ctx, report, "op", kKernels, args);
  return args.ran;
}

TEST(KernelReportTest, TheFirstThatTakesTheArgumentsRuns) {
  EXPECT_EQ(Ran(64, nullptr), "fastest");
  EXPECT_EQ(Ran(16, nullptr), "fast");
  EXPECT_EQ(Ran(17, nullptr), "plain");
}

TEST(KernelReportTest, SaysWhichRanAndWhyNotAFasterOne) {
  KernelReport report;
  Ran(8, &report);
  Ran(16, &report);
  Ran(17, &report);
  EXPECT_EQ(report.ToString(),
            "op: fast (2 times)\n"
            "  not fastest, which needs a width of 64\n"
            "op: plain (1 time)\n"
            "  not fastest, which needs a width of 64\n"
            "  not fast, which needs a width by 8\n");
}

TEST(KernelReportTest, RequiringFastOnesRefusesTheOthers) {
  KernelReport report(/*require_fast=*/true);
  EXPECT_EQ(Ran(8, &report), "fast");
  try {
    Ran(9, &report);
    FAIL() << "a slow kernel ran";
  } catch (const EngineError& error) {
    EXPECT_STREQ(
        error.what(),
        "[op] would run as plain; fastest needs a width of 64; fast needs "
        "a width by 8; leave out "
        "--require-fast to run it so");
  }
}

TEST(BatchTest, CapacityIsAPowerOfTwoThatNoPositionReaches) {
  const auto capacity = [](int32_t last) {
    Batch batch;
    const int32_t token = 0;
    batch.Add({&token, 1}, 3);
    batch.Add({&token, 1}, last);
    return batch.kv_capacity();
  };
  EXPECT_EQ(Batch::Of({}).kv_capacity(), 512);
  EXPECT_EQ(capacity(0), 512);
  EXPECT_EQ(capacity(511), 512);
  EXPECT_EQ(capacity(512), 1024);
  EXPECT_EQ(capacity(5000), 8192);
}

}  // namespace
}  // namespace intarsia
