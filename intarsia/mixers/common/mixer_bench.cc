#include "intarsia/mixers/common/mixer_bench.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/autograd/tape.h"
#include "intarsia/cache/pool.h"

namespace intarsia {
namespace {

using Doubles = std::vector<double>;
using Role = WeightSpec::Role;

constexpr int64_t kChecked = 70;  // tokens: past a chunk and a page of 64

Doubles Wide(const Tensor& x) {
  const std::vector<float> values = x.ToVector<float>();
  return Doubles(values.begin(), values.end());
}

double Dot(const Tensor& a, const Tensor& b) {
  const Doubles x = Wide(a), y = Wide(b);
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

// The mixer with random weights on ctx.device, and the same numbers in double.
class Subject {
 public:
  Subject(const MixerBench& bench, const Context& ctx, DType matrices)
      : ctx_(ctx), dim_(bench.dim) {
    auto made = bench.create(Json::parse(bench.config), bench.dim);
    CHECK(made.ok()) << made.status().message();
    mixer_ = std::move(made).value();
    for (const WeightSpec& spec : mixer_->weights()) {
      const bool vector = spec.role == Role::kVector;
      const Format& format = PlainFormat(vector ? DType::kF32 : matrices);
      const float scale =
          vector ? 1.0f : std::sqrt(3.0f / static_cast<float>(spec.shape[-1]));
      const Tensor stored = format.Quantize(
          *ctx.pool, BenchValues(spec.shape, 7 + weights_.size(), scale));
      wide_.push_back(Wide(stored.To(DType::kF32)));
      weights_.emplace_back(spec, &format, stored.To(ctx.device));
      weights_.back().trainable = true;
    }
  }

  Tensor Input(int64_t tokens, uint64_t seed) const {
    return BenchValues({tokens, dim_}, seed);
  }
  Tensor Forward(const Batch& batch, const Tensor& x,
                 StateView* state = nullptr, Tape* tape = nullptr) const {
    Context ctx = ctx_;
    std::vector<const Weight*> handles;
    for (const Weight& weight : weights_) handles.push_back(&weight);
    ctx.batch = &batch;
    ctx.weights = handles;
    ctx.state = state;
    ctx.tape = tape;
    return mixer_->Forward(ctx, x);
  }
  Doubles Reference(const Batch& batch, const Tensor& x) const {
    return mixer_->Reference(batch, wide_, Wide(x));
  }

  const Context& ctx() const { return ctx_; }
  const Mixer& mixer() const { return *mixer_; }
  const std::vector<Weight>& weights() const { return weights_; }
  const std::vector<Doubles>& wide() const { return wide_; }
  int64_t dim() const { return dim_; }

 private:
  Context ctx_;
  int64_t dim_;
  std::unique_ptr<Mixer> mixer_;
  std::vector<Weight> weights_;
  std::vector<Doubles> wide_;
};

Batch OneSequence(const Context& ctx, int64_t tokens) {
  Batch batch =
      Batch::OfLengths(std::vector<int32_t>{static_cast<int32_t>(tokens)});
  if (ctx.device.is_cuda()) batch.Upload(ctx.device);
  return batch;
}

// `count` sequences in a pool that has room for `tokens` of each.
class Served {
 public:
  Served(const Subject& subject, int count, int64_t tokens)
      : subject_(&subject),
        pool_({subject.mixer().state()},
              {.slots = count,
               .tokens = count * ((tokens + 63) / 64 * 64),
               .device = subject.ctx().device}) {
    for (int i = 0; i < count; ++i) {
      slots_.push_back(pool_.Acquire());
      CHECK(pool_.Reserve(slots_.back(), tokens));
    }
  }

  // The next `length` tokens of each sequence, from position `from`.
  void Prepare(int64_t from, int64_t length) {
    batch_ = Batch();
    const std::vector<int32_t> ids(length, 0);
    for (int slot : slots_) batch_.Add(ids, static_cast<int32_t>(from), slot);
    const Device device = subject_->ctx().device;
    if (device.is_cuda()) batch_.Upload(device);
    views_ = pool_.View(batch_);
  }
  Tensor Step(const Tensor& x) {
    return subject_->Forward(batch_, x, &views_[0]);
  }
  // Numbers in place of whatever the state holds.
  void FillState() {
    uint64_t seed = 40;
    for (StateView::Entry& entry : views_[0].entries) {
      Tensor& to =
          entry.sequence.defined() ? entry.sequence : entry.tokens.pool;
      const Tensor from = BenchValues(to.shape(), ++seed).To(to.dtype());
      Backend(to.device())
          .CopyToDevice(to.mutable_raw(), from.raw(), from.nbytes(), nullptr);
    }
  }

 private:
  const Subject* subject_;
  StatePool pool_;
  std::vector<int> slots_;
  Batch batch_;
  std::vector<StateView> views_;
};

KernelBench::Ready Prefill(const MixerBench& bench, const Context& ctx,
                           int64_t tokens) {
  const auto subject = std::make_shared<Subject>(bench, ctx, DType::kBF16);
  const Tensor x = subject->Input(tokens, 1);
  return CheckedRun(
      [subject, batch = OneSequence(ctx, tokens), in = x.To(ctx.device)] {
        return subject->Forward(batch, in);
      },
      [subject, x, n = std::min(tokens, kChecked)] {
        const Batch first = OneSequence(Context(), n);
        return subject->Reference(first, x.Slice(0, 0, n));
      });
}

// Sequences of kChecked tokens, the last of them by decode.
double DecodeError(const Subject& subject) {
  constexpr int kSequences = 2;
  const Device device = subject.ctx().device;
  const int64_t dim = subject.dim();
  const Tensor x = subject.Input(kSequences * kChecked, 2)
                       .Reshape({kSequences, kChecked, dim});
  const auto part = [&](int64_t begin, int64_t end) {
    return x.Slice(1, begin, end)
        .Clone()
        .Reshape({kSequences * (end - begin), dim})
        .To(device);
  };
  Served served(subject, kSequences, kChecked);
  served.Prepare(0, kChecked - 1);
  served.Step(part(0, kChecked - 1));
  served.Prepare(kChecked - 1, 1);
  const Tensor got = served.Step(part(kChecked - 1, kChecked));
  const Batch whole =
      Batch::OfLengths(std::vector<int32_t>(kSequences, int32_t{kChecked}));
  const Doubles all =
      subject.Reference(whole, x.Reshape({kSequences * kChecked, dim}));
  Doubles want;
  for (int n = 1; n <= kSequences; ++n) {
    const auto end = all.begin() + n * kChecked * dim;
    want.insert(want.end(), end - dim, end);
  }
  return LargestError(got, want);
}

KernelBench::Ready Decode(const MixerBench& bench, const Context& ctx,
                          int sequences, int64_t depth) {
  const auto subject = std::make_shared<Subject>(bench, ctx, DType::kBF16);
  const auto served = std::make_shared<Served>(*subject, sequences, depth + 1);
  served->Prepare(depth, 1);
  served->FillState();
  return {
      .run =
          [subject, served, x = subject->Input(sequences, 3).To(ctx.device)] {
            served->Step(x);
          },
      .check = [subject] { return DecodeError(*subject); }};
}

// Forward and backward; what runs is the sum of c ⊙ y.
void Backpropagate(const Subject& subject, const Batch& batch, Tensor* x,
                   const Tensor& c, Tape* tape) {
  tape->Watch(x);
  const Tensor y = subject.Forward(batch, *x, nullptr, tape);
  tape->Backward(subject.ctx(), y, c);
}

// All gradients at once: their product with a direction against the slope of
// the reference along it.
double GradientError(const Subject& subject) {
  constexpr double kStep = 1e-5;
  const Context& ctx = subject.ctx();
  const Batch batch = OneSequence(ctx, kChecked);
  const Tensor x = subject.Input(kChecked, 4), c = subject.Input(kChecked, 5);
  Tape tape;
  Tensor watched = x.To(ctx.device).Clone();
  Backpropagate(subject, batch, &watched, c.To(ctx.device), &tape);

  Tensor direction = subject.Input(kChecked, 6);
  const Tensor of_x = tape.Gradient(watched).To(Cpu());
  double got = Dot(of_x, direction), norm = Dot(of_x, of_x);
  std::vector<Doubles> ahead = subject.wide(), back = subject.wide();
  for (size_t i = 0; i < ahead.size(); ++i) {
    const Weight& weight = subject.weights()[i];
    const float scale =
        std::sqrt(1.0f / static_cast<float>(weight.shape()[-1]));
    const Tensor along = BenchValues(weight.shape(), 60 + i, scale);
    const Tensor gradient = tape.WeightGradient(weight).To(Cpu());
    got += Dot(gradient, along);
    norm += Dot(gradient, gradient) * scale * scale;
    for (size_t j = 0; j < ahead[i].size(); ++j) {
      const double step = kStep * along.data<float>()[j];
      ahead[i][j] += step, back[i][j] -= step;
    }
  }
  const auto loss = [&](double sign, const std::vector<Doubles>& weights) {
    Doubles at = Wide(x);
    for (size_t i = 0; i < at.size(); ++i) {
      at[i] += sign * kStep * direction.data<float>()[i];
    }
    const Doubles y = subject.mixer().Reference(batch, weights, at);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += c.data<float>()[i] * y[i];
    return sum;
  };
  const double want = (loss(1, ahead) - loss(-1, back)) / (2 * kStep);
  return std::abs(got - want) / std::sqrt(norm / 3);
}

KernelBench::Ready Train(const MixerBench& bench, const Context& ctx,
                         int64_t tokens) {
  const auto subject = std::make_shared<Subject>(bench, ctx, DType::kF32);
  return {.run =
              [subject, batch = OneSequence(ctx, tokens),
               x = subject->Input(tokens, 1).To(ctx.device),
               c = subject->Input(tokens, 2).To(ctx.device)]() mutable {
                Tape tape;
                Backpropagate(*subject, batch, &x, c, &tape);
              },
          .check = [subject] { return GradientError(*subject); }};
}

}  // namespace

std::vector<KernelBench> MixerRows(const MixerBench& bench, bool quick) {
  const int sequences = quick ? 3 : 16;
  const int64_t tokens = quick ? 80 : 512, depth = quick ? 80 : 2048;
  auto made = bench.create(Json::parse(bench.config), bench.dim);
  CHECK(made.ok()) << made.status().message();
  const Mixer& mixer = **made;
  double matrices = 0, vectors = 0, per_sequence = 0, per_token = 0;
  for (const WeightSpec& spec : mixer.weights()) {
    (spec.role == Role::kVector ? vectors : matrices) +=
        double(spec.shape.numel());
  }
  for (const StateSpec& spec : mixer.state()) {
    const bool grows = spec.growth != StateSpec::Growth::kSequence;
    (grows ? per_token : per_sequence) += double(spec.shape.numel());
  }
  const auto flops = [&](double before) {
    return 2 * bench.share * matrices +
           (bench.core_flops ? bench.core_flops(before) : 0);
  };
  const double in_and_out = 8.0 * bench.dim;
  const std::string wide = " x " + std::to_string(bench.dim);
  const KernelBench prefill = {
      .name = bench.room + ".prefill",
      .shape = std::to_string(tokens) + wide,
      .bytes = 2 * matrices + 4 * vectors + double(tokens) * in_and_out,
      .flops = double(tokens) * flops(double(tokens - 1) / 2),
      .tolerance = 1e-4,
      .prepare = [=](const Context& ctx) {
        return Prefill(bench, ctx, tokens);
      }};
  KernelBench decode = {
      .name = bench.room + ".decode",
      .shape =
          std::to_string(sequences) + wide + " at " + std::to_string(depth),
      .bytes = 2 * matrices + 4 * vectors +
               sequences * (in_and_out + 8 * per_sequence +
                            2 * per_token * double(depth + 1)),
      .flops = sequences * flops(double(depth)),
      // Entries in bf16 cost digits that nothing else does.
      .tolerance = per_token > 0 ? 0.03 : 1e-4,
      .prepare = [=](const Context& ctx) {
        return Decode(bench, ctx, sequences, depth);
      }};
  KernelBench train = {
      .name = bench.room + ".train",
      .shape = prefill.shape,
      .bytes = 2 * prefill.bytes,
      .flops = 3 * prefill.flops,
      .tolerance = 1e-3,
      .prepare = [=](const Context& ctx) { return Train(bench, ctx, tokens); }};
  return {prefill, decode, train};
}

}  // namespace intarsia
