// A mixer between its norms, and how its result joins the residual. Model runs
// the sublayers of its blocks, stack and recursion those of theirs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "intarsia/wiring/composite.h"
#include "intarsia/wiring/sublayer_config.h"

namespace intarsia {

class Sublayer {
 public:
  // `dim`: D, the width of the residual. Errors start with "[room]" or with the
  // room of the mixer at fault, and end with the place.
  static Result<std::unique_ptr<Sublayer>> Create(SublayerConfig config,
                                                  int dim,
                                                  const std::string& room,
                                                  const std::string& place);

  const SublayerConfig& config() const { return config_; }
  const Mixer& mixer() const { return *mixer_; }

  // "pre_norm", those of the mixer, "post_norm".
  const std::vector<WeightSpec>& weights() const { return weights_; }
  std::vector<StateSpec> state() const { return mixer_->state(); }
  std::vector<StreamSpec> reads() const;
  std::vector<StreamSpec> writes() const;
  Status Supports(Device device) const;

  // The residual on its way through a block.
  struct Flow {
    Tensor x;         // so far
    Tensor block;     // as it came in
    Tensor previous;  // what the last sublayer's mixer worked on
    // Where the caller allows it, x may lack the last result, so that the next
    // norm adds it in one pass over memory; Settle adds it. A block that begins
    // so has no `block` before.
    bool may_lack = false;
    Tensor lacking = {};
  };
  static void Settle(Context& ctx, Flow* flow);
  // Weights and state of ctx are this sublayer's. ctx.streams holds the named
  // values; it may be null where none is read or written.
  void Run(Context& ctx, Flow* flow) const;

  struct ReferenceFlow {
    Doubles x, block, previous;
  };
  void Reference(const Batch& batch, const std::vector<Doubles>& weights,
                 ReferenceStreams* streams, ReferenceFlow* flow) const;

 private:
  Sublayer(SublayerConfig config, int dim)
      : config_(std::move(config)), dim_(dim) {}

  SublayerConfig config_;
  int dim_;
  std::unique_ptr<Mixer> mixer_;
  std::vector<WeightSpec> weights_;
  PartPlace pre_, mixed_, post_;
};

}  // namespace intarsia
