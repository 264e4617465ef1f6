// The one interface of token mixers and channel mixers.
//
// A room has two levels: the core (no projections; in the room's header, called
// by composite mixers) and the mixer below (projections + core). All of
// conformance, training, serving, conversion and search works from these
// methods.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "intarsia/cache/state_spec.h"
#include "intarsia/cache/state_view.h"
#include "intarsia/core/context.h"
#include "intarsia/core/json_fields.h"
#include "intarsia/formats/weight.h"
#include "intarsia/mixers/common/weight_book.h"

namespace intarsia {

using Json = nlohmann::json;

// A named value that a mixer reads or writes (Context::streams): [T, shape...].
struct StreamSpec {
  std::string name;
  Shape shape;
};

using Doubles = std::vector<double>;

class Mixer {
 public:
  virtual ~Mixer() = default;

  // Those of the book, unless a mixer is made of others.
  virtual std::vector<WeightSpec> weights() const { return book_.specs(); }
  virtual std::vector<StateSpec> state() const { return {}; }
  // > 0: state of a sequence of up to so many tokens does not go on past them:
  // a longer sequence computes even its first tokens otherwise, and runs again
  // from its tokens.
  virtual int64_t state_ends() const { return 0; }
  // On a GPU, Forward takes x in bf16 too and returns what x is.
  virtual bool bf16() const { return false; }
  // Forward waits for results of a GPU, so that a step can't be recorded.
  virtual bool reads_back() const { return false; }
  virtual std::vector<StreamSpec> reads() const { return {}; }
  virtual std::vector<StreamSpec> writes() const { return {}; }
  // Channels of what Forward returns; 0: as many as x has.
  virtual int out_dim() const { return 0; }
  // Whether Forward of a rank returns the whole result. Otherwise it returns a
  // part, and the caller sums the ranks' (distributed/tensor_parallel.h).
  virtual bool whole() const { return false; }
  // Whether it runs there, with its configuration. By default it does where the
  // ops and common cores have kernels.
  virtual Status Supports(Device device) const;

  // x: [T, D] fp32 of ctx.batch's tokens; returns [T, out_dim]. Weights come in
  // the order of weights(), state in that of state(). With ctx.state set, state
  // is read and updated in place; without it, sequences start from their init.
  // With ctx.tape set (then ctx.state is null), the call is differentiable in x
  // and in every trainable weight.
  virtual Tensor Forward(Context& ctx, const Tensor& x) const = 0;

  // The equation in double precision by plain loops, for whole sequences from
  // their init state: batch, weights (fp32 values widened, in order), x [T, D]
  // row-major; returns y. Conformance compares every form and the finite
  // differences of this with the gradients.
  virtual Doubles Reference(const Batch& batch,
                            const std::vector<Doubles>& weights,
                            const Doubles& x) const = 0;

 protected:
  WeightBook book_;  // filled by the constructor
};

// A configuration that the conformance suite runs.
struct MixerExample {
  std::string name;
  std::string config;  // JSON
  int dim = 0;         // D
  // Largest |fast − reference| over the deviation of the reference.
  double tolerance = 2e-5;
  bool chunked = true;  // has forms other than recurrent
};

// What a room mixes; kMixers: others, which it is made of.
enum class MixerKind : uint8_t { kToken, kChannel, kMixers };

struct MixerEntry {
  const char* name;
  MixerKind kind;
  // dim: D, the width of the residual. The message of a bad config starts with
  // "[name]" and says which field is wrong and what is allowed.
  Result<std::unique_ptr<Mixer>> (*create)(const Json& config, int dim);
  std::vector<MixerExample> (*examples)();
  void (*fields)(Fields& f, int dim);  // visits a fresh configuration
};

// What `create` and `fields` of a room come to: M is made from a Config that
// declares its fields and, if it wants to know it, has the width as `dim`.
template <typename Config>
Config FreshConfig(int dim) {
  Config config;
  if constexpr (requires { config.dim = dim; }) config.dim = dim;
  return config;
}
template <typename Config>
void VisitFresh(Fields& f, int dim) {
  FreshConfig<Config>(dim).Visit(f);
}
template <typename M, typename Config>
Result<std::unique_ptr<Mixer>> MakeMixer(const Json& json, const char* room,
                                         int dim) {
  CHECK(dim > 0);
  ASSIGN_OR_RETURN(const Config config,
                   ParseFields(json, room, FreshConfig<Config>(dim)));
  return std::unique_ptr<Mixer>(std::make_unique<M>(config));
}

}  // namespace intarsia
