// What the tests of the ops share.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "intarsia/autograd/gradient_check.h"
#include "intarsia/core/context.h"
#include "intarsia/formats/weight.h"

namespace intarsia::testing {

// While it lives, memory nothing wrote reads as NaN.
class Poisoned {
 public:
  Poisoned() { PoisonNewMemory(true); }
  ~Poisoned() { PoisonNewMemory(false); }
};

inline Tensor RandomTensor(Random& random, const Shape& shape,
                           float scale = 1.0f) {
  Tensor t = Tensor::Empty(shape);
  float* p = t.mutable_data<float>();
  for (int64_t i = 0; i < t.numel(); ++i) p[i] = scale * random.NextNormal();
  return t;
}

inline Weight RandomWeight(Random& random, const std::string& name,
                           const Shape& shape, float scale = 1.0f) {
  WeightSpec spec;
  spec.name = name;
  spec.shape = shape;
  spec.role =
      shape.rank() == 1 ? WeightSpec::Role::kVector : WeightSpec::Role::kMatrix;
  return Weight::F32(std::move(spec), RandomTensor(random, shape, scale));
}

// A column slice [T, n] of a wider tensor with the values of x [T, n].
inline Tensor AsColumns(const Tensor& x) {
  const int64_t n = x.dim(-1);
  Tensor wide = Tensor::Full(x.shape().With(-1, n + 5), NAN);
  Tensor view = wide.Slice(-1, 3, 3 + n);
  view.CopyFrom(x);
  return view;
}

inline ::testing::AssertionResult BitwiseEqual(const Tensor& a,
                                               const Tensor& b) {
  if (!(a.shape() == b.shape())) {
    return ::testing::AssertionFailure() << a.shape() << " and " << b.shape();
  }
  const std::vector<float> x = a.ToVector<float>(), y = b.ToVector<float>();
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::memcmp(&x[i], &y[i], sizeof(float)) != 0) {
      return ::testing::AssertionFailure()
             << "element " << i << ": " << x[i] << " and " << y[i];
    }
  }
  return ::testing::AssertionSuccess();
}

// |a − b| ≤ tolerance · (1 + |b|) everywhere; NaN fails.
inline ::testing::AssertionResult Near(const Tensor& a,
                                       const std::vector<double>& b,
                                       double tolerance) {
  const std::vector<float> x = a.ToVector<float>();
  if (x.size() != b.size()) {
    return ::testing::AssertionFailure()
           << x.size() << " values, expected " << b.size();
  }
  for (size_t i = 0; i < x.size(); ++i) {
    if (!(std::abs(x[i] - b[i]) <= tolerance * (1 + std::abs(b[i])))) {
      return ::testing::AssertionFailure()
             << "element " << i << ": " << x[i] << ", expected " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

// Runs `function` without a pool and with 1, 2 and 5 threads: the same bits.
inline void ExpectSameBitsOnAnyThreads(
    const Context& ctx, const std::function<Tensor(Context&)>& function) {
  Context serial = ctx;
  serial.pool = nullptr;
  const Tensor expected = function(serial);
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    Context threaded = ctx;
    threaded.pool = &pool;
    EXPECT_TRUE(BitwiseEqual(function(threaded), expected)) << threads;
  }
}

// Every row of function(x) is the same bits when it comes alone, and when the
// batch is any tail of x.
inline void ExpectRowsIndependent(
    const Tensor& x, const std::function<Tensor(const Tensor&)>& function) {
  const Tensor whole = function(x);
  for (int64_t t = 0; t < x.dim(0); ++t) {
    EXPECT_TRUE(BitwiseEqual(function(x.Slice(0, t, t + 1).Clone()),
                             whole.Slice(0, t, t + 1)))
        << "row " << t;
    EXPECT_TRUE(BitwiseEqual(function(x.Slice(0, t, x.dim(0))),
                             whole.Slice(0, t, x.dim(0))))
        << "rows from " << t;
  }
}

// The gradients by the tape, flattened, for comparisons of threads.
inline Tensor GradientsOf(Context ctx, std::vector<Tensor> inputs,
                          const std::vector<Weight*>& weights,
                          const CheckedFunction& function) {
  Tape tape;
  for (Tensor& input : inputs) tape.Watch(&input);
  for (Weight* weight : weights) weight->trainable = true;
  ctx.tape = &tape;
  const Tensor y = function(ctx, inputs);
  Random random(5);
  ctx.tape = nullptr;
  tape.Backward(ctx, y, RandomTensor(random, y.shape()));
  std::vector<float> all;
  const auto append = [&](const Tensor& gradient) {
    const std::vector<float> values = gradient.ToVector<float>();
    all.insert(all.end(), values.begin(), values.end());
  };
  for (const Tensor& input : inputs) append(tape.Gradient(input));
  for (const Weight* weight : weights) append(tape.WeightGradient(*weight));
  return Tensor::From(all, {static_cast<int64_t>(all.size())});
}

// The tape against differences, and the same bits on any number of threads.
inline void ExpectGradients(const Context& ctx,
                            const std::vector<Tensor>& inputs,
                            const std::vector<Weight*>& weights,
                            const CheckedFunction& function,
                            double tolerance = 1e-3) {
  for (const GradientError& error :
       CheckGradients(ctx, inputs, weights, function)) {
    EXPECT_LT(error.max_relative, tolerance) << error.name;
  }
  ExpectSameBitsOnAnyThreads(ctx, [&](Context& threaded) {
    return GradientsOf(threaded, inputs, weights, function);
  });
}

}  // namespace intarsia::testing
