#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <cmath>
#include <numeric>

#include "intarsia/core/batch.h"
#include "intarsia/core/random.h"
#include "intarsia/core/status.h"
#include "intarsia/core/tensor.h"
#include "intarsia/core/thread_pool.h"

namespace intarsia {
namespace {

TEST(DTypeTest, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const f16 h{static_cast<uint16_t>(bits)};
    const float f = ToFloat(h);
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(ToFloat(ToF16(f))));
    } else {
      EXPECT_EQ(ToF16(f).bits, h.bits) << bits;
    }
    const bf16 b{static_cast<uint16_t>(bits)};
    if (!std::isnan(ToFloat(b))) {
      EXPECT_EQ(ToBF16(ToFloat(b)).bits, b.bits) << bits;
    }
  }
}

TEST(DTypeTest, RoundsToNearestEven) {
  EXPECT_EQ(ToFloat(ToF16(1.0f + 0x1p-11f)), 1.0f);            // tie to even
  EXPECT_EQ(ToFloat(ToF16(1.0f + 0x3p-11f)), 1.0f + 0x1p-9f);  // tie up
  EXPECT_EQ(ToFloat(ToF16(65519.0f)), 65504.0f);
  EXPECT_TRUE(std::isinf(ToFloat(ToF16(65520.0f))));
  EXPECT_EQ(ToFloat(ToF16(0x1p-25f)), 0.0f);
  EXPECT_EQ(ToFloat(ToF16(0x1.8p-25f)), 0x1p-24f);
  EXPECT_EQ(ToFloat(ToBF16(1.0f + 0x1p-8f)), 1.0f);
}

TEST(TensorTest, ViewsShareAndCopiesDoNot) {
  std::vector<float> values(24);
  std::iota(values.begin(), values.end(), 0.0f);
  Tensor t = Tensor::From(values, {2, 3, 4});
  Tensor view = t.Slice(1, 1, 3);
  EXPECT_EQ(view.shape(), Shape({2, 2, 4}));
  EXPECT_FALSE(view.contiguous());
  EXPECT_EQ(view.Clone().ToVector<float>()[0], 4.0f);
  EXPECT_EQ(view.Select(0, 1).ToVector<float>(),
            (std::vector<float>{16, 17, 18, 19, 20, 21, 22, 23}));
  Tensor copy = t.Clone();
  t.mutable_data<float>()[4] = -1;
  EXPECT_EQ(view.ToVector<float>()[0], -1.0f);
  EXPECT_EQ(copy.data<float>()[4], 4.0f);
  view.CopyFrom(Tensor::Zeros({2, 2, 4}));
  EXPECT_EQ(t.data<float>()[23], 0.0f);
  EXPECT_EQ(t.data<float>()[12], 12.0f);
  EXPECT_THROW(view.Reshape({16}), CheckError);
  EXPECT_THROW(t.Slice(1, 2, 4), CheckError);
  EXPECT_THROW(t.data<bf16>(), CheckError);
}

TEST(TensorTest, EmptyTensorsAndConversions) {
  Tensor none = Tensor::Empty({0, 7});
  EXPECT_TRUE(none.defined());
  EXPECT_EQ(none.Clone().numel(), 0);
  Tensor t = Tensor::From(std::vector<float>{1, -2.5f, 1e-3f}, {3});
  EXPECT_EQ(t.To(DType::kBF16).To(DType::kF32).ToVector<float>()[1], -2.5f);
  EXPECT_EQ(t.To(DType::kF64).ToVector<double>()[2],
            static_cast<double>(1e-3f));
}

// A stack that no address space holds stands for a system without threads.
TEST(ThreadPoolTest, NoThreadsIsAnEngineError) {
  pthread_attr_t usual, huge;
  ASSERT_EQ(pthread_getattr_default_np(&usual), 0);
  ASSERT_EQ(pthread_attr_init(&huge), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&huge, size_t{1} << 47), 0);
  ASSERT_EQ(pthread_setattr_default_np(&huge), 0);
  EXPECT_THROW(ThreadPool(3), EngineError);
  ASSERT_EQ(pthread_setattr_default_np(&usual), 0);
  pthread_attr_destroy(&huge);
  pthread_attr_destroy(&usual);
  ThreadPool pool(3);
  EXPECT_EQ(pool.size(), 3);
}

TEST(ThreadPoolTest, RunsEachTaskOnceAndRethrows) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (int round = 0; round < 200; ++round) {
      std::vector<std::atomic<int>> seen(97);
      pool.Run(97, [&](int64_t i) { seen[i].fetch_add(1); });
      for (auto& s : seen) ASSERT_EQ(s.load(), 1);
    }
    EXPECT_THROW(pool.Run(8,
                          [](int64_t i) {
                            if (i == 3) throw EngineError("three");
                          }),
                 EngineError);
    std::atomic<int64_t> sum{0};
    pool.For(1000, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) sum += i;
    });
    EXPECT_EQ(sum.load(), 499500);
  }
}

// More threads than processors, and loops shorter than a turn on one: workers
// come late to most of them, and to loops that are over.
TEST(ThreadPoolTest, LateWorkersChangeNothing) {
  ThreadPool pool(7, /*pin=*/true);
  std::vector<int> seen(5);
  for (int round = 1; round <= 5000; ++round) {
    const int64_t tasks = 2 + round % 4;
    pool.Run(tasks, [&](int64_t i) { seen[i] = round; });
    for (int64_t i = 0; i < tasks; ++i) ASSERT_EQ(seen[i], round);
  }
}

TEST(RandomTest, MatchesPhiloxAndItsMoments) {
  // Known answer of Philox-4x32-10 for key 0, counter 0.
  EXPECT_EQ(Random(0).At(0),
            (std::array<uint32_t, 4>{0x6627E8D5u, 0xE169C58Du, 0xBC57AC4Cu,
                                     0x9B00DBD8u}));
  Random random(7);
  double sum = 0, squares = 0;
  for (int i = 0; i < 100000; ++i) {
    const double x = random.NextNormal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / 1e5, 0.0, 0.02);
  EXPECT_NEAR(squares / 1e5, 1.0, 0.02);
  EXPECT_NE(random.Fork(1).NextU32(), random.Fork(2).NextU32());
}

TEST(BatchTest, PacksAndSelects) {
  Batch batch = Batch::Of({{5, 6, 7}, {8, 9}});
  EXPECT_EQ(batch.cu_seqlens, (std::vector<int32_t>{0, 3, 5}));
  EXPECT_EQ(batch.longest(), 3);
  const Batch part = batch.Select(std::vector<int32_t>{0, 2, 4});
  EXPECT_EQ(part.tokens, (std::vector<int32_t>{5, 7, 9}));
  EXPECT_EQ(part.positions, (std::vector<int32_t>{0, 2, 1}));
  EXPECT_EQ(part.cu_seqlens, (std::vector<int32_t>{0, 2, 3}));
  EXPECT_EQ(part.SegmentIds(), (std::vector<int32_t>{0, 0, 1}));
}

Result<int> Half(int x) {
  if (x % 2 != 0) return InvalidArgument("[half] odd");
  return x / 2;
}
Result<int> Quarter(int x) {
  ASSIGN_OR_RETURN(const int half, Half(x));
  return Half(half);
}

TEST(CheckTest, SaysThePlaceTheConditionAndTheValues) {
  const auto message = [](const auto& body) -> std::string {
    try {
      body();
    } catch (const CheckError& error) {
      const std::string text = error.what();
      return text.substr(text.find("CHECK("));
    }
    return "nothing was thrown";
  };
  const int64_t rows = -3;
  EXPECT_EQ(message([&] {
              CHECK_EQ(rows, 4) << "of " << Shape({2, 5});
            }),
            "CHECK((rows)==(4)) failed [-3 vs 4] of [2, 5]");
  EXPECT_EQ(message([&] {
              CHECK(rows > 0) << std::string("a") << 'b' << true << 1.5 << 1e-9f
                              << uint8_t{7} << ~uint64_t{0};
            }),
            "CHECK(rows > 0) failed ab11.51e-09718446744073709551615");
}

TEST(StatusTest, ErrorsTravel) {
  EXPECT_EQ(Quarter(8).value(), 2);
  EXPECT_EQ(Quarter(6).status().message(), "[half] odd");
  EXPECT_THROW(Quarter(6).value(), CheckError);
}

}  // namespace
}  // namespace intarsia
