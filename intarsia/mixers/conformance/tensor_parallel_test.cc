// Mixers cut among two ranks against the whole: outputs, gradients of the input
// and of every weight.
#include <gtest/gtest.h>

#include <thread>

#include "intarsia/autograd/tape.h"
#include "intarsia/distributed/communicator.h"
#include "intarsia/distributed/tensor_parallel.h"
#include "intarsia/mixers/conformance/harness.h"

namespace intarsia::conformance {
namespace {

constexpr int kRanks = 2;
constexpr double kTolerance = 1e-5;
// Mixers made of mixers: the next part takes what the ranks' sum has rounded.
constexpr double kCompositeTolerance = 1e-4;

bool Divides(const Subject& subject) {
  Instance instance(subject);
  bool cut = instance.mixer().whole();
  for (const Weight& w : instance.weights()) {
    if (!ShardWeight(w.spec(), w.format(), w.values(), 0, kRanks).ok()) {
      return false;
    }
    cut |= w.spec().shard.axis >= 0;
  }
  return cut;
}

std::vector<Subject> DividingSubjects() {
  std::vector<Subject> subjects;
  for (const Subject& subject : AllSubjects()) {
    if (Divides(subject)) subjects.push_back(subject);
  }
  return subjects;
}

// One rank's share of the weights and what it computed.
struct Rank {
  std::vector<Weight> weights;
  Tensor y, dx;
  std::vector<Tensor> dw;

  Rank(Instance& instance, int rank) {
    for (const Weight& w : instance.weights()) {
      WeightSpec spec = w.spec();
      Tensor part =
          ShardWeight(spec, w.format(), w.values(), rank, kRanks).value();
      spec.shape = part.shape();
      weights.push_back(Weight::F32(std::move(spec), std::move(part)));
      weights.back().trainable = true;
    }
  }

  void Run(const Mixer& mixer, Communicator* group, const Batch& batch,
           const Tensor& x, const Tensor& c) {
    ThreadPool pool(1);
    Tape tape;
    std::vector<const Weight*> handles;
    for (const Weight& w : weights) handles.push_back(&w);
    Context ctx;
    ctx.batch = &batch;
    ctx.pool = &pool;
    ctx.weights = handles;
    ctx.tensor_parallel = group;
    ctx.tape = &tape;
    Tensor watched = x.Clone();
    tape.Watch(&watched);
    if (mixer.whole()) {
      y = mixer.Forward(ctx, watched);
    } else {
      const Tensor in = EnterTensorParallel(ctx, watched);
      y = LeaveTensorParallel(ctx, mixer.Forward(ctx, in));
    }
    tape.Backward(ctx, y, c);
    dx = tape.Gradient(watched);
    for (const Weight* w : handles) {
      const Tensor g = tape.WeightGradient(*w);
      dw.push_back(g.defined() ? g : Tensor::Zeros(w->shape()));
    }
  }
};

class TensorParallel : public ::testing::TestWithParam<Subject> {};

TEST_P(TensorParallel, TwoRanksAreOne) {
  Instance instance(GetParam());
  const Batch batch = RaggedBatch({1, 37, 20});
  const Tensor x = RandomNormal({batch.size(), instance.dim()}, 5);
  const Tensor c = RandomNormal({batch.size(), instance.dim()}, 6);
  const Tensor y = Forward(instance, batch, x);
  const std::vector<Tensor> whole = Gradients(instance, batch, x, c);

  auto group = MakeLocalGroup(kRanks);
  std::vector<Rank> ranks;
  for (int r = 0; r < kRanks; ++r) ranks.emplace_back(instance, r);
  std::vector<std::thread> threads;
  for (int r = 0; r < kRanks; ++r) {
    threads.emplace_back([&, r] {
      ranks[r].Run(instance.mixer(), group[r].get(), batch, x, c);
    });
  }
  for (std::thread& thread : threads) thread.join();

  const double tolerance =
      instance.mixer().whole() ? kCompositeTolerance : kTolerance;
  EXPECT_TRUE(SameBits(ranks[0].y, ranks[1].y));
  EXPECT_TRUE(SameBits(ranks[0].dx, ranks[1].dx));
  EXPECT_LE(Error(ranks[0].y, Wide(y)), tolerance);
  EXPECT_LE(Error(ranks[0].dx, Wide(whole[0])), tolerance);
  // Gradients that are zero by symmetry are compared with the others' rounding.
  double largest = 0;
  for (const Tensor& g : whole) {
    if (g.defined()) largest = std::max(largest, RootMeanSquare(Wide(g)));
  }
  const double floor = 0.01 * largest;
  for (size_t i = 0; i < instance.weights().size(); ++i) {
    const Weight& w = instance.weights()[i];
    if (!whole[i + 1].defined()) continue;
    if (w.spec().shard.axis < 0) {
      // A whole mixer's own weights have their whole gradient on every rank.
      if (instance.mixer().whole() &&
          SameBits(ranks[0].dw[i], ranks[1].dw[i])) {
        EXPECT_LE(Error(ranks[0].dw[i], Wide(whole[i + 1]), floor), tolerance)
            << w.spec().name;
        continue;
      }
      // Each rank has the part of the gradient that its heads contribute.
      Tensor sum = ranks[0].dw[i].Clone();
      for (int64_t j = 0; j < sum.numel(); ++j) {
        sum.mutable_data<float>()[j] += ranks[1].dw[i].data<float>()[j];
      }
      EXPECT_LE(Error(sum, Wide(whole[i + 1]), floor), tolerance)
          << w.spec().name;
      continue;
    }
    for (int r = 0; r < kRanks; ++r) {
      const Tensor want =
          ShardWeight(w.spec(), w.format(), whole[i + 1], r, kRanks).value();
      EXPECT_LE(Error(ranks[r].dw[i], Wide(want), floor), tolerance)
          << w.spec().name << " of rank " << r;
    }
  }
}

TEST(TensorParallelSubjects, EveryRoomHasAnExampleThatDivides) {
  for (const Subject& subject : AllSubjects()) {
    bool divides = false;
    for (const Subject& other : DividingSubjects()) {
      divides |= std::string(other.entry.name) == subject.entry.name;
    }
    EXPECT_TRUE(divides) << subject.entry.name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, TensorParallel,
                         ::testing::ValuesIn(DividingSubjects()),
                         [](const ::testing::TestParamInfo<Subject>& info) {
                           return info.param.name;
                         });

}  // namespace
}  // namespace intarsia::conformance
