// A mixer whose state goes on over several calls on one tape.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "intarsia/autograd/tape.h"
#include "intarsia/core/random.h"
#include "intarsia/mixers/retention/retention.h"
#include "intarsia/ops/rows/rows.h"

namespace intarsia {
namespace {

// A document in two pieces, whose state goes on: the gradients of the whole.
// Cut between the pieces, those of the second one change.
TEST(PiecesTest, ADocumentTrainsInPieces) {
  const auto mixer =
      CreateRetention(Json::parse(R"({"heads": 2, "key_dim": 8, "value_dim": 6,
                                      "rope": {}})"),
                      16)
          .value();
  Random random(3);
  const auto normal = [&](const Shape& shape) {
    Tensor t = Tensor::Empty(shape);
    for (int64_t i = 0; i < t.numel(); ++i) {
      t.mutable_data<float>()[i] = 0.5f * random.NextNormal();
    }
    return t;
  };
  std::vector<Weight> weights;
  for (const WeightSpec& spec : mixer->weights()) {
    weights.push_back(Weight::F32(spec, normal(spec.shape)));
  }
  for (Weight& weight : weights) weight.trainable = true;
  std::vector<const Weight*> handles;
  for (const Weight& weight : weights) handles.push_back(&weight);
  const Tensor x = normal({90, 16}), g = normal({90, 16});
  ThreadPool pool(1);
  struct Result {
    std::vector<float> y, dx, dq, dv;
  };
  const auto run = [&](const std::vector<int64_t>& ends, bool cut) {
    Tape tape;
    Tensor in = x.Clone();
    tape.Watch(&in);
    StateView view;
    view.entries.resize(1);
    view.sequence(0) = Tensor::Zeros({1, 2, 8, 6});
    std::vector<Tensor> parts, inputs;
    Tensor loss = Tensor::Zeros({1});
    Context ctx;
    ctx.pool = &pool;
    ctx.tape = &tape;
    ctx.weights = handles;
    int64_t begin = 0;
    std::vector<std::unique_ptr<Batch>> batches;
    Result result;
    for (const int64_t end : ends) {
      auto batch = std::make_unique<Batch>();
      batch->Add(std::vector<int32_t>(end - begin, 0),
                 static_cast<int32_t>(begin), 0);
      ctx.batch = batch.get();
      ctx.state = ends.size() > 1 ? &view : nullptr;
      std::vector<int32_t> rows(end - begin);
      std::iota(rows.begin(), rows.end(), static_cast<int32_t>(begin));
      const Tensor y = mixer->Forward(ctx, GatherRows(ctx, in, rows));
      if (cut && ctx.state != nullptr) {
        view.sequence(0) = view.sequence(0).Clone();
      }
      const std::vector<float> values = y.ToVector<float>();
      result.y.insert(result.y.end(), values.begin(), values.end());
      parts.push_back(y);
      inputs.push_back(g.Slice(0, begin, end).Contiguous());
      batches.push_back(std::move(batch));
      begin = end;
    }
    tape.Record("loss", ctx, parts, {&loss},
                [=](Context&, const std::vector<Tensor>&) { return inputs; });
    ctx.tape = nullptr;
    ctx.state = nullptr;
    tape.Backward(ctx, loss);
    result.dx = tape.Gradient(in).ToVector<float>();
    result.dq = tape.WeightGradient(weights[0]).ToVector<float>();
    result.dv = tape.WeightGradient(weights[2]).ToVector<float>();
    return result;
  };
  const Result whole = run({90}, false), pieces = run({37, 64, 90}, false),
               truncated = run({37, 64, 90}, true);
  const auto distance = [](const std::vector<float>& a,
                           const std::vector<float>& b) {
    double squares = 0, all = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      squares += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
      all += double{b[i]} * b[i];
    }
    return std::sqrt(squares / all);
  };
  EXPECT_LT(distance(pieces.y, whole.y), 1e-5);
  EXPECT_LT(distance(pieces.dx, whole.dx), 1e-5);
  EXPECT_LT(distance(pieces.dq, whole.dq), 1e-5);
  EXPECT_LT(distance(pieces.dv, whole.dv), 1e-5);
  EXPECT_EQ(truncated.y, pieces.y);
  EXPECT_GT(distance(truncated.dv, whole.dv), 1e-2);
}

}  // namespace
}  // namespace intarsia
