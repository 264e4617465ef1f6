#include "intarsia/mixers/conformance/harness.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "intarsia/autograd/tape.h"
#include "intarsia/ops/elementwise/elementwise.h"
#include "intarsia/wiring/primitives.h"

namespace intarsia::conformance {
namespace {

// As training would start it, but with every vector away from 0 and 1, where a
// forgotten weight would not show.
Tensor RandomWeight(const WeightSpec& spec, Random* random) {
  Tensor t = Tensor::Empty(spec.shape);
  const WeightInit& init = spec.init;
  const bool vector = spec.role == WeightSpec::Role::kVector;
  for (int64_t i = 0; i < t.numel(); ++i) {
    const double u = random->NextUniform(), z = random->NextNormal();
    double value = 0;
    switch (init.kind) {
      case WeightInit::Kind::kNormal:
        value = vector ? 0.3 * z : z / std::sqrt(double(spec.shape[-1]));
        break;
      case WeightInit::Kind::kUniform:
        value = init.a + u * (init.b - init.a);
        break;
      case WeightInit::Kind::kConstant:
        value = init.a + 0.3 * z;
        break;
      case WeightInit::Kind::kLogUniform:
        value = std::log(init.a + u * (init.b - init.a));
        break;
      case WeightInit::Kind::kInverseSoftplus: {
        const double step = init.a * std::pow(double{init.b} / init.a, u);
        value = std::log(std::expm1(step));
        break;
      }
    }
    t.mutable_data<float>()[i] = static_cast<float>(value);
  }
  return t;
}

void Fill(Tensor* t, float value) {
  std::fill_n(t->mutable_data<float>(), t->numel(), value);
}

Shape WithFront(std::initializer_list<int64_t> front, const Shape& shape) {
  std::vector<int64_t> dims(front);
  dims.insert(dims.end(), shape.dims().begin(), shape.dims().end());
  return Shape(dims);
}

void Shuffle(std::vector<int32_t>* values, Random* random) {
  for (size_t i = values->size(); i > 1; --i) {
    std::swap((*values)[i - 1],
              (*values)[random->NextBelow(static_cast<uint32_t>(i))]);
  }
}

bool AllNaN(const Tensor& t) {
  const std::vector<float> values = t.ToVector<float>();
  return std::all_of(values.begin(), values.end(),
                     [](float x) { return std::isnan(x); });
}

}  // namespace

std::vector<Subject> AllSubjects() {
  std::vector<Subject> subjects;
  for (const MixerEntry& entry : Primitives()) {
    for (const MixerExample& example : entry.examples()) {
      subjects.push_back(
          {std::string(entry.name) + "_" + example.name, entry, example});
    }
  }
  return subjects;
}

Instance::Instance(const Subject& subject) : example_(subject.example) {
  auto mixer = subject.entry.create(Json::parse(example_.config), example_.dim);
  CHECK(mixer.ok()) << mixer.status().message();
  mixer_ = std::move(mixer).value();
  Random random(17);
  for (const WeightSpec& spec : mixer_->weights()) {
    weights_.push_back(Weight::F32(spec, RandomWeight(spec, &random)));
    weights_.back().trainable = true;
  }
}

const std::vector<Weight>& Instance::weights_on(Device device) {
  if (device.is_cpu()) return weights_;
  on_cuda_ = weights_;
  for (Weight& weight : on_cuda_) {
    weight.set_values(&weight.format(), weight.values().To(device));
  }
  return on_cuda_;
}

std::vector<Doubles> Instance::wide_weights() const {
  std::vector<Doubles> wide;
  for (const Weight& weight : weights_) wide.push_back(Wide(weight.values()));
  return wide;
}

bool Instance::per_sequence() const {
  for (const StateSpec& spec : mixer_->state()) {
    if (spec.growth != StateSpec::Growth::kSequence) return false;
  }
  return true;
}

Pools::Pools(const Mixer& mixer, const std::vector<int32_t>& used, int slots,
             int64_t tokens, Device device, DType token_dtype)
    : specs_(mixer.state()), used_(used), slots_(slots), device_(device) {
  constexpr int64_t kPage = 64;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Random random(23);
  const int64_t per_slot = (tokens + kPage - 1) / kPage;
  std::vector<int32_t> pages(slots * per_slot);
  std::iota(pages.begin(), pages.end(), 0);
  Shuffle(&pages, &random);
  for (int s = 0; s < slots; ++s) {
    tables_.emplace_back(pages.begin() + s * per_slot,
                         pages.begin() + (s + 1) * per_slot);
  }
  for (const StateSpec& spec : specs_) {
    StateView::Entry entry;
    if (spec.growth == StateSpec::Growth::kSequence) {
      Tensor host = Tensor::Empty(WithFront({slots}, spec.shape));
      Fill(&host, nan);
      for (int32_t slot : used) {
        Tensor row = host.Select(0, slot);
        Fill(&row, spec.init);
      }
      entry.sequence = host.To(device);
    } else {
      Tensor host =
          Tensor::Empty(WithFront({slots * per_slot, kPage}, spec.shape));
      Fill(&host, nan);
      entry.tokens.pool = host.To(token_dtype).To(device);
      entry.tokens.page = kPage;
      for (const std::vector<int32_t>& table : tables_) {
        entry.tokens.table.push_back(table);
      }
      if (!device.is_cpu()) {
        entry.tokens.device_table =
            Tensor::From(pages, {slots, per_slot}).To(device);
      }
      if (spec.growth == StateSpec::Growth::kSelected) {
        entry.tokens.positions =
            Tensor::Zeros({slots * per_slot, kPage}, DType::kI32, device);
      }
    }
    view_.entries.push_back(std::move(entry));
  }
}

StateView& Pools::View(const Batch& batch) {
  std::vector<int32_t> before;
  for (int64_t n = 0; n < batch.segments(); ++n) {
    before.push_back(batch.length(n) > 0 ? batch.positions[batch.begin(n)] : 0);
  }
  for (StateView::Entry& entry : view_.entries) {
    if (!entry.tokens.pool.defined()) continue;
    entry.tokens.entries_before = before;
  }
  return view_;
}

bool Pools::UnusedUntouched() const {
  for (int32_t s = 0; s < slots_; ++s) {
    if (std::count(used_.begin(), used_.end(), s) > 0) continue;
    for (const StateView::Entry& entry : view_.entries) {
      if (entry.sequence.defined()) {
        if (!AllNaN(entry.sequence.To(Cpu()).Select(0, s))) return false;
        continue;
      }
      const Tensor pool = entry.tokens.pool.To(Cpu()).To(DType::kF32);
      for (int32_t page : tables_[s]) {
        if (!AllNaN(pool.Select(0, page))) return false;
      }
    }
  }
  return true;
}

Tensor Forward(Instance& instance, const Batch& batch, const Tensor& x,
               const RunOptions& options) {
  ThreadPool pool(options.threads);
  Batch on_device = batch;
  if (!options.device.is_cpu()) on_device.Upload(options.device);
  std::vector<const Weight*> weights;
  for (const Weight& w : instance.weights_on(options.device)) {
    weights.push_back(&w);
  }
  Context ctx;
  ctx.batch = &on_device;
  ctx.pool = &pool;
  ctx.device = options.device;
  ctx.weights = weights;
  ctx.form = options.form;
  ctx.chunk = options.chunk;
  ctx.dtype = options.dtype;
  if (options.pools != nullptr) ctx.state = &options.pools->View(on_device);
  // As a model gives it.
  const DType dtype = instance.mixer().bf16() ? options.dtype : DType::kF32;
  const Tensor in = Cast(ctx, x.To(options.device), dtype);
  const Tensor out = instance.mixer().Forward(ctx, in);
  CHECK(out.dtype() == dtype);
  return Cast(ctx, out, DType::kF32).To(Cpu());
}

std::vector<Tensor> Gradients(Instance& instance, const Batch& batch,
                              const Tensor& x, const Tensor& c,
                              const RunOptions& options) {
  ThreadPool pool(options.threads);
  std::vector<const Weight*> weights;
  for (const Weight& w : instance.weights_on(options.device)) {
    weights.push_back(&w);
  }
  Batch on_device = batch;
  if (!options.device.is_cpu()) on_device.Upload(options.device);
  Tape tape;
  Context ctx;
  ctx.batch = &on_device;
  ctx.pool = &pool;
  ctx.device = options.device;
  ctx.weights = weights;
  ctx.form = options.form;
  ctx.chunk = options.chunk;
  ctx.tape = &tape;
  Tensor watched = x.Clone().To(options.device);
  tape.Watch(&watched);
  const Tensor y = instance.mixer().Forward(ctx, watched);
  tape.Backward(ctx, y, c.To(options.device));
  std::vector<Tensor> gradients = {tape.Gradient(watched).To(Cpu())};
  for (const Weight* w : weights) {
    gradients.push_back(tape.WeightGradient(*w).To(Cpu()));
  }
  return gradients;
}

Tensor RandomNormal(const Shape& shape, uint64_t seed) {
  Random random(seed);
  Tensor t = Tensor::Empty(shape);
  for (int64_t i = 0; i < t.numel(); ++i) {
    t.mutable_data<float>()[i] = random.NextNormal();
  }
  return t;
}

Doubles Wide(const Tensor& x) {
  const std::vector<float> values = x.ToVector<float>();
  return Doubles(values.begin(), values.end());
}

Batch RaggedBatch(const std::vector<int32_t>& lengths) {
  Batch batch = Batch::OfLengths(lengths);
  const int32_t n = static_cast<int32_t>(lengths.size());
  for (int32_t i = 0; i < n; ++i) batch.slots[i] = 2 * (n - i) - 1;
  return batch;
}

Batch SelectedBatch(const std::vector<int32_t>& lengths, uint64_t seed) {
  const Batch whole = RaggedBatch(lengths);
  const std::vector<int32_t> segments = whole.SegmentIds();
  Random random(seed);
  std::vector<int32_t> rows;
  for (int32_t t = 0; t < whole.size(); ++t) {
    if (random.NextUniform() < 0.5f && segments[t] != 1) rows.push_back(t);
  }
  return whole.Select(rows);
}

Batch Piece(const Batch& whole, const std::vector<int32_t>& from,
            const std::vector<int32_t>& to, std::vector<int32_t>* rows) {
  Batch piece;
  piece.cu_seqlens.push_back(0);
  rows->clear();
  for (int64_t n = 0; n < whole.segments(); ++n) {
    const int32_t length = static_cast<int32_t>(whole.length(n));
    const int32_t begin = std::min(from[n], length);
    const int32_t end = std::min(to[n], length);
    if (begin >= end) continue;
    for (int32_t i = begin; i < end; ++i) {
      rows->push_back(static_cast<int32_t>(whole.begin(n)) + i);
      piece.positions.push_back(whole.positions[rows->back()]);
    }
    piece.slots.push_back(whole.slots[n]);
    piece.lengths.push_back(static_cast<int32_t>(whole.sequence_length(n)));
    piece.cu_seqlens.push_back(static_cast<int32_t>(rows->size()));
  }
  return piece;
}

Tensor TakeRows(const Tensor& x, const std::vector<int32_t>& rows) {
  Tensor out = Tensor::Empty({static_cast<int64_t>(rows.size()), x.dim(1)});
  for (size_t i = 0; i < rows.size(); ++i) {
    out.Select(0, static_cast<int64_t>(i)).CopyFrom(x.Select(0, rows[i]));
  }
  return out;
}

void PutRows(const Tensor& from, const std::vector<int32_t>& rows, Tensor* to) {
  for (size_t i = 0; i < rows.size(); ++i) {
    to->Select(0, rows[i]).CopyFrom(from.Select(0, static_cast<int64_t>(i)));
  }
}

double RootMeanSquare(const Doubles& x) {
  double square = 0;
  for (double value : x) square += value * value / x.size();
  return std::sqrt(square);
}

double Error(const Tensor& got, const Doubles& want, double floor) {
  const std::vector<float> values = got.ToVector<float>();
  CHECK_EQ(values.size(), want.size());
  double mean = 0, square = 0, worst = 0;
  for (double x : want) mean += x / want.size();
  for (double x : want) square += (x - mean) * (x - mean) / want.size();
  for (size_t i = 0; i < want.size(); ++i) {
    const double difference = std::abs(values[i] - want[i]);
    if (!(difference <= worst)) worst = difference;
    if (std::isnan(worst)) break;
  }
  return worst / std::max(std::sqrt(square), floor);
}

bool SameBits(const Tensor& a, const Tensor& b) {
  const Tensor x = a.Contiguous(), y = b.Contiguous();
  return x.shape() == y.shape() &&
         std::memcmp(x.raw(), y.raw(), x.nbytes()) == 0;
}

}  // namespace intarsia::conformance
