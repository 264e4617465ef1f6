// How the values of a stored tensor lie in its bytes: the plain types of
// safetensors, and the block types of GGML. A row (the last dimension) is whole
// blocks; a plain type is a block of one value.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "intarsia/core/dtype.h"
#include "intarsia/core/status.h"
#include "intarsia/core/tensor.h"

namespace intarsia {

// What scales a block: the values that must be finite for it to mean anything.
enum class ScaleKind : uint8_t {
  kNone,
  kF16,     // one or two f16 at `scale_offsets`
  kF32,     // one f32
  kE8M0,    // one byte, 255 is NaN
  kE4M3x4,  // four f8_e4m3 bytes, 127 and 255 are NaN
  kIq1m,    // an f16 spread over the top four bits of four 16-bit words
};

struct Encoding {
  std::string_view name;      // "f32", "q4_1": lower case
  uint32_t block;             // values a block
  uint32_t bytes;             // bytes a block
  int32_t gguf_type;          // GGML's number, -1: not in GGUF
  std::string_view st_dtype;  // name in safetensors, empty: not there
  std::optional<DType> dtype = std::nullopt;  // of core tensors, if they can
  ScaleKind scale = ScaleKind::kNone;
  int16_t scale_offsets[2] = {0, -1};  // bytes into the block; -1: no second

  bool plain() const { return scale == ScaleKind::kNone; }
};

// Null where there is none.
const Encoding* FindEncoding(std::string_view name);
const Encoding* FindGgufEncoding(uint32_t type);
const Encoding* FindSafetensorsEncoding(std::string_view dtype);
const Encoding& EncodingOf(DType dtype);

// Checks untrusted dimensions and gives the shape and its bytes. Messages name
// the fault only: the caller puts file and tensor before them.
Status CheckLayout(const Encoding& encoding, std::span<const uint64_t> dims,
                   Shape* shape, uint64_t* bytes);

// The index of the first block of `data` whose scale is NaN or infinite, or -1.
// Reads at most `limit` blocks, spread evenly over all when there are more.
int64_t FindBadScale(const Encoding& encoding, std::span<const std::byte> data,
                     int64_t limit);

}  // namespace intarsia
