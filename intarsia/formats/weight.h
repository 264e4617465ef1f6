// Weights: what a room asks for (WeightSpec) and what it gets (Weight).
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "intarsia/core/tensor.h"
#include "intarsia/formats/format.h"
#include "intarsia/formats/packing.h"

namespace intarsia {

// How tensor parallelism cuts a weight. The axis is cut in `world` equal parts,
// each a multiple of `unit` (a head, a block); -1 keeps a copy on every rank.
struct ShardRule {
  int axis = -1;
  int64_t unit = 1;
};

// How training starts a weight.
struct WeightInit {
  enum class Kind : uint8_t {
    kNormal,           // standard deviation `a`
    kUniform,          // [a, b)
    kConstant,         // a
    kLogUniform,       // log of uniform [a, b): Mamba's A_log
    kInverseSoftplus,  // softplus⁻¹ of log-uniform [a, b): Mamba's dt_bias
  };
  Kind kind = Kind::kNormal;
  float a = 0.02f;
  float b = 0.0f;
};

struct WeightSpec {
  // kMatrix [..., N, K] and kTable [rows, K] may be in any format; kVector is
  // always fp32, any shape.
  enum class Role : uint8_t { kMatrix, kTable, kVector };

  std::string name;  // within its room: "q_proj", "norm", "A_log"
  Shape shape;
  Role role = Role::kMatrix;
  ShardRule shard = {};
  WeightInit init = {};
  bool decay = true;  // weight decay applies
  // Its path in the model, where several mixers use one weight: all that name
  // the same path get the same weight. Empty: it is of its mixer alone.
  std::string shared = {};
};

// A handle: rooms and the tape keep pointers to it, never to its storage.
class Weight {
 public:
  Weight() = default;
  Weight(WeightSpec spec, const Format* format, Tensor values)
      : spec_(std::move(spec)), format_(format), values_(std::move(values)) {}
  static Weight F32(WeightSpec spec, Tensor values) {
    return Weight(std::move(spec), &PlainFormat(DType::kF32),
                  std::move(values));
  }

  const WeightSpec& spec() const { return spec_; }
  const Shape& shape() const { return spec_.shape; }
  const Format& format() const { return *format_; }
  // Plain formats: the shape. Block formats: u8, the last axis in bytes.
  const Tensor& values() const { return values_; }
  Tensor& mutable_values() { return values_; }
  void set_values(const Format* format, Tensor values) {
    format_ = format;
    values_ = std::move(values);
    packed_ = nullptr;
  }
  // A kMatrix or kTable [..., N, K] as serving on a CPU multiplies it; null:
  // as values(), which stay. Whoever changes values() packs again.
  const PackedMatrices* packed() const { return packed_.get(); }
  void set_packed(std::shared_ptr<const PackedMatrices> packed) {
    packed_ = std::move(packed);
  }
  // Of a kVector (or an fp32 matrix): the numbers, contiguous.
  const float* f32() const { return values_.data<float>(); }
  bool defined() const { return values_.defined(); }

  bool trainable = false;  // the tape computes its gradient

 private:
  WeightSpec spec_;
  const Format* format_ = nullptr;
  Tensor values_;
  std::shared_ptr<const PackedMatrices> packed_;
};

}  // namespace intarsia
