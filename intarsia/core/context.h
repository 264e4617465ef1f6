// Context: everything a primitive needs beside its input. An argument, never a
// global; cheap to copy, so a block gets its own with its weights and state.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "intarsia/core/batch.h"
#include "intarsia/core/kernel_report.h"
#include "intarsia/core/random.h"
#include "intarsia/core/tensor.h"
#include "intarsia/core/thread_pool.h"

namespace intarsia {

class Communicator;  // distributed/communicator.h
class Tape;          // autograd/tape.h
class Weight;        // formats/weight.h
struct StateView;    // cache/state_view.h

// The forms of a sequence primitive. kAuto lets its plan choose per segment.
enum class Form : uint8_t { kAuto, kParallel, kChunked, kRecurrent };

// Named per-token tensors beside the residual: what the blocks began with, an
// earlier layer's output, a second residual. Who reads or writes one declares
// it; pipeline stages ship exactly these. On a tape they are values like any
// other: gradients flow from the reader to the writer.
using Streams = std::map<std::string, Tensor>;

// Taps for calibration, hidden states and inspection.
class Observer {
 public:
  virtual ~Observer() = default;
  // `name` is a path such as "blocks.3.residual"; `value` is [T, ...].
  virtual void Observe(const std::string& name, const Tensor& value) = 0;
};

// A low-rank addition to a matrix: W x becomes W x + scale · B A x wherever
// Linear meets `of`. The memory of all three is the caller's.
struct Adapter {
  const Weight* of = nullptr;  // W [N, K]
  const Weight* a = nullptr;   // A [rank, K]
  const Weight* b = nullptr;   // B [N, rank]
  float scale = 1.0f;
};

struct Context {
  const Batch* batch = nullptr;
  ThreadPool* pool = nullptr;
  Device device;
  DeviceStream stream = nullptr;

  // Of the sublayer that runs, in the order of its weights().
  std::span<const Weight* const> weights;
  // Of the sublayer that runs; null: sequences start from their init values and
  // nothing is kept (training, whole-sequence evaluation).
  StateView* state = nullptr;
  Streams* streams = nullptr;
  std::span<const Adapter> adapters;

  Communicator* tensor_parallel = nullptr;  // null: a group of one
  Random random;
  Tape* tape = nullptr;  // null: nothing is recorded
  Observer* observer = nullptr;

  Form form = Form::kAuto;
  int chunk = 0;  // inner chunk of chunked forms; 0: the room's own

  // Of activations: kF32, or kBF16 on a GPU. An op's result has the type of its
  // input; products round their operands to this one. Softmax, statistics of
  // norms, states and sums are fp32 always.
  DType dtype = DType::kF32;
  KernelReport* report = nullptr;  // null: nobody asks which kernels ran

  const Weight& weight(size_t i) const {
    CHECK_LT(i, weights.size());
    return *weights[i];
  }
  // Memory for one call, not initialised, from the device's allocator.
  Tensor Workspace(size_t bytes) const {
    return Tensor::Empty({static_cast<int64_t>(bytes)}, DType::kU8, device);
  }
};

}  // namespace intarsia
