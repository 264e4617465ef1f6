// Reverse-mode differentiation over rooms: an op that runs while ctx.tape is
// set records how to turn the gradients of its outputs into those of its
// inputs.
//
// The tape keeps weight handles, never their storage, so sharded training can
// gather and release values between forward and backward. A node returns input
// gradients at once and queues weight gradients, which run right after it or,
// deferred, when the schedule wants them (zero-bubble pipelines).
#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "intarsia/core/context.h"
#include "intarsia/formats/weight.h"

namespace intarsia {

class Tape {
 public:
  // Gets the gradients of the node's outputs, in order (undefined: zero), and
  // returns those of its inputs, in order (undefined: none). ctx is the context
  // of the forward call, with tape null and pool and device of Backward's.
  using BackwardFn = std::function<std::vector<Tensor>(
      Context& ctx, const std::vector<Tensor>& output_gradients)>;
  using WeightGradientFn = std::function<Tensor(Context& ctx)>;

  // Makes *t a leaf whose gradient Gradient() will return.
  void Watch(Tensor* t);

  // Gives each output a variable and notes the node. Ops call it last, always
  // (a node whose inputs nobody watches may still own weights).
  void Record(std::string name, const Context& ctx,
              const std::vector<Tensor>& inputs,
              const std::vector<Tensor*>& outputs, BackwardFn backward);

  // Called inside a BackwardFn. `fn` returns the fp32 gradient, of the weight's
  // shape; gradients of one weight add up. Does nothing for frozen weights.
  void QueueWeightGradient(const Weight& weight, const Context& ctx,
                           WeightGradientFn fn);

  // Gradients of `loss` (one element, seed 1), or of any output given its
  // gradient. Uses ctx.pool, ctx.device; frees each node as it goes.
  void Backward(const Context& ctx, const Tensor& loss,
                const Tensor& seed = Tensor());

  // Queued gradients wait for RunWeightGradients() instead of running at once.
  void set_defer_weight_gradients(bool defer) { defer_ = defer; }
  void RunWeightGradients();

  // Undefined when nothing reached it.
  Tensor Gradient(const Tensor& watched) const;
  Tensor WeightGradient(const Weight& weight) const;
  void Clear();  // forgets nodes and gradients
  size_t nodes() const { return nodes_.size(); }

 private:
  struct Node {
    std::string name;
    Context ctx;
    Batch batch;  // the forward's batch may be gone
    std::vector<const Weight*> weights;
    std::vector<int32_t> inputs, outputs;
    BackwardFn backward;
  };
  struct Queued {
    const Weight* weight;
    Context ctx;
    WeightGradientFn fn;
  };
  void Accumulate(int32_t var, const Tensor& gradient, ThreadPool* pool);
  void RunQueued(const Queued& queued);

  std::vector<Node> nodes_;
  std::vector<Tensor> gradients_;  // by variable
  std::vector<bool> watched_;      // by variable
  std::unordered_map<const Weight*, Tensor> weight_gradients_;
  std::vector<Queued> queue_;
  bool defer_ = false;
};

}  // namespace intarsia
