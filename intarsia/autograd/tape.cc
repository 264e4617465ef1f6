#include "intarsia/autograd/tape.h"

#include <algorithm>
#include <utility>

#include "intarsia/autograd/autograd_cuda.h"
#include "intarsia/cuda/kernels.h"

namespace intarsia {
namespace {

bool Same(const Batch& a, const Batch& b) {
  return a.positions == b.positions && a.cu_seqlens == b.cu_seqlens &&
         a.tokens == b.tokens && a.slots == b.slots &&
         a.device.positions.storage() == b.device.positions.storage();
}

// `rows` rows of n: to[r · stride + i] += from[r · n + i].
void AddRows(const Context& ctx, int64_t rows, int64_t n, const float* from,
             float* to, int64_t stride) {
  const auto body = [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* x = from + r * n;
      float* y = to + r * stride;
      for (int64_t i = 0; i < n; ++i) y[i] += x[i];
    }
  };
  if (ctx.pool != nullptr) {
    ctx.pool->For(rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(n, 1)),
                  body);
  } else {
    body(0, rows);
  }
}

const autograd_cuda::Kernels& OnCuda() {
  return RequireKernels(autograd_cuda::kernels, "autograd");
}

}  // namespace

void Tape::Sum::Own() {
  if (!owned) value = value.Clone();
  owned = true;
}

void Tape::Sum::Add(const Context& ctx, const Tensor& gradient) {
  const Tensor packed = gradient.Contiguous();
  if (!value.defined()) {
    value = packed;
    return;
  }
  Own();
  if (packed.device().is_cuda()) {
    return OnCuda().add_rows(ctx, 1, packed.numel(), packed, &value, 0, 0);
  }
  // Rows of one cache line's multiple, so that threads split a vector too.
  constexpr int64_t kRow = 1024;
  const int64_t n = packed.numel(), whole = n / kRow;
  const float* from = packed.data<float>();
  float* to = value.mutable_data<float>();
  AddRows(ctx, whole, kRow, from, to, kRow);
  AddRows(ctx, 1, n - whole * kRow, from + whole * kRow, to + whole * kRow, 0);
}

void Tape::Sum::AddSlice(const Context& ctx, const Shape& whole, int axis,
                         int64_t begin, const Tensor& gradient) {
  if (!value.defined()) {
    value = Tensor::Zeros(whole, DType::kF32, gradient.device());
    owned = true;
  }
  Own();
  int64_t outer = 1, inner = 1;
  for (int i = 0; i < whole.rank(); ++i) {
    if (i != axis) (i < axis ? outer : inner) *= whole[i];
  }
  const Tensor packed = gradient.Contiguous();
  if (packed.device().is_cuda()) {
    return OnCuda().add_rows(ctx, outer, packed.dim(axis) * inner, packed,
                             &value, begin * inner, whole[axis] * inner);
  }
  AddRows(ctx, outer, packed.dim(axis) * inner, packed.data<float>(),
          value.mutable_data<float>() + begin * inner, whole[axis] * inner);
}

int32_t Tape::NewVariable(const Shape& shape) {
  Variable variable;
  variable.shape = shape;
  variables_.push_back(std::move(variable));
  return static_cast<int32_t>(variables_.size()) - 1;
}

void Tape::Accumulate(const Context& ctx, int32_t var, const Tensor& gradient) {
  Variable& v = variables_[var];
  if (v.whole < 0) {
    v.gradient.Add(ctx, gradient);
    return;
  }
  Variable& whole = variables_[v.whole];
  if (whole.whole < 0) {
    whole.gradient.AddSlice(ctx, whole.shape, v.axis, v.begin, gradient);
    return;
  }
  Sum wide;  // a slice of a slice
  wide.AddSlice(ctx, whole.shape, v.axis, v.begin, gradient);
  Accumulate(ctx, v.whole, wide.value);
}

void Tape::RecordSlice(const Tensor& x, int axis, int64_t begin, Tensor* view) {
  if (x.var() < 0) return;
  CHECK_LT(x.var(), static_cast<int32_t>(variables_.size()));
  view->set_var(NewVariable(view->shape()));
  Variable& variable = variables_.back();
  variable.whole = x.var();
  variable.axis = axis < 0 ? axis + x.rank() : axis;
  variable.begin = begin;
}

void Tape::Watch(Tensor* t) {
  CHECK(t->defined());
  t->set_var(NewVariable(t->shape()));
  variables_.back().watched = true;
}

// The ops of a pass share one batch, so they share one copy of it.
std::shared_ptr<const Batch> Tape::Remember(const Batch* batch) {
  if (batch == nullptr) return nullptr;
  if (last_batch_ == nullptr || !Same(*last_batch_, *batch)) {
    last_batch_ = std::make_shared<const Batch>(*batch);
  }
  return last_batch_;
}

void Tape::Record(std::string name, const Context& ctx,
                  const std::vector<Tensor>& inputs,
                  const std::vector<Tensor*>& outputs, BackwardFn backward) {
  Node node;
  node.name = std::move(name);
  node.saved = std::make_shared<Saved>();
  Saved& saved = *node.saved;
  saved.ctx = ctx;
  saved.batch = Remember(ctx.batch);
  saved.weights.assign(ctx.weights.begin(), ctx.weights.end());
  saved.ctx.batch = saved.batch.get();
  saved.ctx.weights = saved.weights;
  saved.ctx.tape = nullptr;
  saved.ctx.state = nullptr;
  saved.ctx.streams = nullptr;
  saved.ctx.adapters = {};
  saved.ctx.observer = nullptr;
  for (const Tensor& input : inputs) {
    CHECK(input.var() < static_cast<int32_t>(variables_.size()))
        << node.name << ": an input belongs to another tape";
    node.inputs.push_back(input.var());
  }
  for (Tensor* output : outputs) {
    output->set_var(NewVariable(output->shape()));
    node.outputs.push_back(output->var());
  }
  node.backward = std::move(backward);
  nodes_.push_back(std::move(node));
}

void Tape::QueueWeightGradient(const Weight& weight, const Context& ctx,
                               WeightGradientFn fn) {
  if (!weight.trainable) return;
  CHECK(running_ != nullptr) << "called outside a backward function";
  queue_.push_back({&weight, running_, ctx, std::move(fn)});
}

void Tape::RunNode(const Context& ctx, Node& node) {
  std::vector<Tensor> output_gradients;
  bool any = false;
  for (int32_t var : node.outputs) {
    output_gradients.push_back(variables_[var].gradient.value);
    any |= output_gradients.back().defined();
    // Every reader of this value has run; only a watched one is asked again.
    if (!variables_[var].watched) variables_[var].gradient = {};
  }
  if (!any) return;

  Context local = node.saved->ctx;
  local.pool = ctx.pool;
  local.device = ctx.device;
  local.stream = ctx.stream;
  running_ = node.saved;
  std::vector<Tensor> input_gradients = node.backward(local, output_gradients);
  running_ = nullptr;
  output_gradients.clear();
  CHECK_EQ(input_gradients.size(), node.inputs.size()) << node.name;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const int32_t var = node.inputs[i];
    if (var < 0 || !input_gradients[i].defined()) continue;
    CHECK(input_gradients[i].shape() == variables_[var].shape)
        << node.name << ": gradient " << i << " has shape "
        << input_gradients[i].shape() << ", its input "
        << variables_[var].shape;
    Accumulate(local, var, input_gradients[i]);
    input_gradients[i] = Tensor();
  }
}

void Tape::Backward(const Context& ctx, const Tensor& loss,
                    const Tensor& seed) {
  CHECK(loss.var() >= 0 && loss.var() < static_cast<int32_t>(variables_.size()))
      << "the tape has not seen this value";
  if (seed.defined()) {
    CHECK(seed.shape() == loss.shape()) << seed.shape() << loss.shape();
    Accumulate(ctx, loss.var(), seed);
  } else {
    CHECK_EQ(loss.numel(), 1);
    Tensor one = Tensor::Full(loss.shape(), 1.0f);
    Accumulate(ctx, loss.var(), one.To(loss.device(), ctx.stream));
  }
  while (!nodes_.empty()) {
    Node node = std::move(nodes_.back());
    nodes_.pop_back();
    RunNode(ctx, node);
    node.backward = nullptr;  // its saved values go before the sums come
    if (!defer_) RunWeightGradients();
  }
  last_batch_ = nullptr;
}

void Tape::RunQueued(Queued& queued) {
  const Tensor gradient = queued.fn(queued.ctx);
  if (!gradient.defined()) return;
  CHECK(gradient.shape() == queued.weight->shape())
      << "gradient of " << queued.weight->spec().name << " has shape "
      << gradient.shape() << ", the weight " << queued.weight->shape();
  weight_gradients_[queued.weight].Add(queued.ctx, gradient);
}

void Tape::RunWeightGradients() {
  // One at a time off the front, so that what each holds is freed at once.
  for (Queued& queued : queue_) {
    RunQueued(queued);
    queued = Queued();
  }
  queue_.clear();
}

Tensor Tape::Gradient(const Tensor& watched) const {
  const int32_t var = watched.var();
  CHECK(var >= 0 && var < static_cast<int32_t>(variables_.size()))
      << "not a value of this tape";
  CHECK(variables_[var].watched) << "only watched values keep gradients";
  return variables_[var].gradient.value;
}

Tensor Tape::WeightGradient(const Weight& weight) const {
  const auto it = weight_gradients_.find(&weight);
  return it == weight_gradients_.end() ? Tensor() : it->second.value;
}

void Tape::Clear() {
  nodes_.clear();
  variables_.clear();
  weight_gradients_.clear();
  queue_.clear();
  last_batch_ = nullptr;
}

}  // namespace intarsia
