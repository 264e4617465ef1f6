// Model: blocks of mixers between an embedding and a head. Knows no checkpoint
// family and no cache; training, serving and conversion run this one class.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "intarsia/cache/state_view.h"
#include "intarsia/core/context.h"
#include "intarsia/core/status.h"
#include "intarsia/formats/weight.h"
#include "intarsia/mixers/mixer.h"
#include "intarsia/model/config.h"
#include "intarsia/wiring/sublayer.h"

namespace intarsia {

// The state of a batch's sequences, a view a sublayer in the model's order.
struct ModelState {
  std::vector<StateView> sublayers;
};

class Model {
 public:
  // Fails when a mixer is unknown or refuses its configuration.
  static Result<std::unique_ptr<Model>> Create(ModelConfig config);

  const ModelConfig& config() const { return config_; }
  int blocks() const { return static_cast<int>(config_.blocks.size()); }

  // Every weight by its path: "embedding", "positions", "blocks.3.0.q_proj",
  // "blocks.3.0.pre_norm", "blocks.3.0.post_norm", "embedding_norm",
  // "final_norm", "head",
  // "head_bias"; a weight that several places use stands under its own,
  // "shared.unit.0.q_proj" (WeightSpec::shared). Paths are stable: they name
  // tensors in native checkpoints.
  const std::vector<std::string>& paths() const { return paths_; }
  const Weight* Find(const std::string& path) const;
  Weight* Find(const std::string& path);
  // Checks shape, format and device; messages name the path.
  Status SetWeight(const std::string& path, const Format& format,
                   Tensor values);
  // Fails naming the weights that were never set.
  Status CheckComplete() const;
  // Fresh weights by each spec's init, from `seed` and the path alone.
  void InitWeights(uint64_t seed);
  // Weights to measure a shape with, on all threads: matrices and tables in
  // bf16, uniform numbers of each spec's deviation, vectors as InitWeights.
  void InitToMeasure(uint64_t seed, ThreadPool& pool);
  void SetTrainable(bool trainable);
  // Throws EngineError when a mixer has no kernels for the device.
  void MoveTo(Device device);

  // What each sublayer keeps, in the order of ModelState; `name` is
  // "blocks.3.0".
  struct SublayerState {
    std::string name;
    std::vector<StateSpec> specs;
  };
  const std::vector<SublayerState>& state() const { return state_; }
  // Some mixer waits for results of a GPU (Mixer::reads_back).
  bool reads_back() const { return reads_back_; }
  // The lengths at which some mixer's state ends (Mixer::state_ends).
  const std::vector<int64_t>& state_ends() const { return state_ends_; }

  // Slices of the forward pass: pipeline stages and depth-wise batching compose
  // them. ctx.batch has the tokens; state may be null. Embed writes, and Blocks
  // read and write, the named values in ctx.streams; without it they last for
  // one call of Blocks, which then must begin with block 0 where any is read.
  Tensor Embed(Context& ctx) const;  // [T, D]
  Tensor Blocks(Context& ctx, Tensor x, int begin, int end,
                ModelState* state) const;            // [T, D]
  Tensor Head(Context& ctx, const Tensor& x) const;  // [T, V]
  // Logits of the given rows of the batch (all when empty): [rows, V] fp32.
  Tensor Forward(Context& ctx, ModelState* state = nullptr,
                 std::span<const int32_t> rows = {}) const;

 private:
  struct Placed {
    std::unique_ptr<Sublayer> sublayer;
    std::vector<const Weight*> weights;
  };
  Model() = default;
  const Weight* Declare(const std::string& path, WeightSpec spec);
  const Weight* DeclareOnce(const std::string& path, WeightSpec spec,
                            Status* status);
  Status Build();
  Status CheckStreams() const;

  ModelConfig config_;
  std::map<std::string, std::unique_ptr<Weight>> weights_;
  std::vector<std::string> paths_;
  std::vector<std::vector<Placed>> layers_;  // by block
  std::vector<SublayerState> state_;
  std::vector<int64_t> state_ends_;
  bool reads_back_ = false;
  const Weight* embedding_ = nullptr;
  const Weight* positions_ = nullptr;
  const Weight* head_ = nullptr;
  const Weight* head_bias_ = nullptr;
  std::vector<const Weight*> embedding_norm_, final_norm_;
};

}  // namespace intarsia
