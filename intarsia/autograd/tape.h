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
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "intarsia/core/context.h"
#include "intarsia/formats/weight.h"

namespace intarsia {

class Tape {
 public:
  // Gets the gradients of the node's outputs, in order (undefined: zero; else
  // contiguous, of the output's shape), and returns those of its inputs, in
  // order (undefined: none). It must not write into the gradients it gets: they
  // may be shared. ctx is the forward call's, with pool, device and stream of
  // Backward's, the batch and weights as they were, and no tape, state,
  // streams, adapters or observer. A stream that a node reads is one of its
  // inputs.
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

  // Gives *view = x.Slice(axis, begin, ...) a variable whose gradient is added
  // to that part of x's: slices of a fused projection share one gradient.
  void RecordSlice(const Tensor& x, int axis, int64_t begin, Tensor* view);

  // Called inside a BackwardFn (which captures the tape: its address must not
  // change). `fn` returns the fp32 gradient, of the weight's shape; gradients
  // of one weight add up. Does nothing for frozen weights.
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
  // The forward's context, with its own copies of what may be gone by then.
  struct Saved {
    Context ctx;
    std::shared_ptr<const Batch> batch;
    std::vector<const Weight*> weights;
  };
  struct Node {
    std::string name;
    std::shared_ptr<Saved> saved;
    std::vector<int32_t> inputs, outputs;
    BackwardFn backward;
  };
  struct Queued {
    const Weight* weight;
    std::shared_ptr<Saved> saved;  // what fn's context points into
    Context ctx;
    WeightGradientFn fn;
  };
  // A sum of gradients. The first is only a handle, which others may share;
  // from the second on the sum is the tape's own and grows in place.
  struct Sum {
    Tensor value;
    bool owned = false;
    void Add(const Context& ctx, const Tensor& gradient);
    // To the part of `whole` that begins at `begin` of `axis`.
    void AddSlice(const Context& ctx, const Shape& whole, int axis,
                  int64_t begin, const Tensor& gradient);
    void Own();
  };
  struct Variable {
    Shape shape;
    Sum gradient;
    bool watched = false;
    // A slice has no gradient of its own but adds to this variable's.
    int32_t whole = -1;
    int axis = 0;
    int64_t begin = 0;
  };
  int32_t NewVariable(const Shape& shape);
  void Accumulate(const Context& ctx, int32_t var, const Tensor& gradient);
  std::shared_ptr<const Batch> Remember(const Batch* batch);
  void RunNode(const Context& ctx, Node& node);
  void RunQueued(Queued& queued);

  std::vector<Node> nodes_;
  std::vector<Variable> variables_;
  std::unordered_map<const Weight*, Sum> weight_gradients_;
  std::vector<Queued> queue_;
  std::shared_ptr<const Batch> last_batch_;
  std::shared_ptr<Saved> running_;  // of the node whose backward runs
  bool defer_ = false;
};

}  // namespace intarsia
