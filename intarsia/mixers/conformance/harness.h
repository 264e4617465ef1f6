// What the conformance tests run: every example of every mixer with random
// weights, on pools that look like a busy server's.
#pragma once

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "intarsia/mixers/mixer.h"

namespace intarsia::conformance {

using Doubles = std::vector<double>;

// One example of one registry entry.
struct Subject {
  std::string name;  // "retention_published": a test's name
  MixerEntry entry;
  MixerExample example;
};
std::vector<Subject> AllSubjects();
inline void PrintTo(const Subject& subject, std::ostream* out) {
  *out << subject.name;
}

// A mixer with random fp32 weights, on the CPU and, copied, elsewhere.
class Instance {
 public:
  explicit Instance(const Subject& subject);

  const Mixer& mixer() const { return *mixer_; }
  const MixerExample& example() const { return example_; }
  int64_t dim() const { return example_.dim; }
  std::vector<Weight>& weights() { return weights_; }
  const std::vector<Weight>& weights_on(Device device);
  std::vector<Doubles> wide_weights() const;
  bool has_state() const { return !mixer_->state().empty(); }
  // All state is one entry a sequence, so selected batches may carry it.
  bool per_sequence() const;

 private:
  MixerExample example_;
  std::unique_ptr<Mixer> mixer_;
  std::vector<Weight> weights_;
  std::vector<Weight> on_cuda_;
};

// State of `slots` sequences of up to `tokens` tokens. Slots handed out start
// from their init value; the others hold NaN. Pages lie in shuffled order.
class Pools {
 public:
  Pools(const Mixer& mixer, const std::vector<int32_t>& used, int slots,
        int64_t tokens, Device device = Cpu(), DType token_dtype = DType::kF32);
  // The view of a batch whose segments continue at their first position.
  StateView& View(const Batch& batch);
  // That nothing was written to slots nobody uses.
  bool UnusedUntouched() const;

 private:
  std::vector<StateSpec> specs_;
  std::vector<int32_t> used_;
  int slots_;
  Device device_;
  StateView view_;
  std::vector<std::vector<int32_t>> tables_;
};

struct RunOptions {
  Form form = Form::kAuto;
  int chunk = 0;
  int threads = 2;
  Device device;
  DType dtype = DType::kF32;  // of activations
  Pools* pools = nullptr;
};

// x [T, D] through the mixer; the result on the host.
Tensor Forward(Instance& instance, const Batch& batch, const Tensor& x,
               const RunOptions& options = RunOptions());

// Gradients of Σ c ⊙ y with respect to x (first) and every weight, in order.
std::vector<Tensor> Gradients(Instance& instance, const Batch& batch,
                              const Tensor& x, const Tensor& c,
                              const RunOptions& options = RunOptions());

Tensor RandomNormal(const Shape& shape, uint64_t seed);
Doubles Wide(const Tensor& x);
// Sequences whose slots are neither first nor in order.
Batch RaggedBatch(const std::vector<int32_t>& lengths);
// Around half of the rows; one sequence loses them all.
Batch SelectedBatch(const std::vector<int32_t>& lengths, uint64_t seed);
// Rows [from[n], to[n]) of each segment as a batch that continues them, and the
// rows in the order of the new batch. Segments without rows are left out.
Batch Piece(const Batch& whole, const std::vector<int32_t>& from,
            const std::vector<int32_t>& to, std::vector<int32_t>* rows);
Tensor TakeRows(const Tensor& x, const std::vector<int32_t>& rows);
void PutRows(const Tensor& from, const std::vector<int32_t>& rows, Tensor* to);

double RootMeanSquare(const Doubles& x);
// Largest |got − want| over the deviation of `want`, which counts as `floor` at
// least; NaN or infinite if got is.
double Error(const Tensor& got, const Doubles& want, double floor = 1e-30);
bool SameBits(const Tensor& a, const Tensor& b);

}  // namespace intarsia::conformance
