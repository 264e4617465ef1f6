#include "intarsia/checkpoint/encoding.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <string>

#include "intarsia/checkpoint/checked.h"

namespace intarsia {
namespace {

using enum ScaleKind;

// Sizes and places of the scales are those of the block structures of ggml.
constexpr Encoding kEncodings[] = {
    {"f32", 1, 4, 0, "F32", DType::kF32},
    {"f16", 1, 2, 1, "F16", DType::kF16},
    {"bf16", 1, 2, 30, "BF16", DType::kBF16},
    {"f64", 1, 8, 28, "F64", DType::kF64},
    {"i8", 1, 1, 24, "I8", DType::kI8},
    {"i16", 1, 2, 25, "I16"},
    {"i32", 1, 4, 26, "I32", DType::kI32},
    {"i64", 1, 8, 27, "I64", DType::kI64},
    {"u8", 1, 1, -1, "U8", DType::kU8},
    {"u16", 1, 2, -1, "U16"},
    {"u32", 1, 4, -1, "U32"},
    {"u64", 1, 8, -1, "U64"},
    {"bool", 1, 1, -1, "BOOL", DType::kU8},
    {"c64", 1, 8, -1, "C64"},
    {"f8_e4m3", 1, 1, -1, "F8_E4M3"},
    {"f8_e5m2", 1, 1, -1, "F8_E5M2"},
    {"f8_e8m0", 1, 1, -1, "F8_E8M0"},
    {"f6_e2m3", 4, 3, -1, "F6_E2M3"},
    {"f6_e3m2", 4, 3, -1, "F6_E3M2"},
    {"f4", 2, 1, -1, "F4"},
    // Rows of FP8 with their scales, as formats/f8_e4m3_128 packs them.
    {"f8_e4m3_128", 128, 132, -1, "", {}, kF32},
    {"q4_0", 32, 18, 2, "", {}, kF16},
    {"q4_1", 32, 20, 3, "", {}, kF16, {0, 2}},
    {"q5_0", 32, 22, 6, "", {}, kF16},
    {"q5_1", 32, 24, 7, "", {}, kF16, {0, 2}},
    {"q8_0", 32, 34, 8, "", {}, kF16},
    {"q8_1", 32, 36, 9, "", {}, kF16, {0, 2}},
    {"q2_k", 256, 84, 10, "", {}, kF16, {80, 82}},
    {"q3_k", 256, 110, 11, "", {}, kF16, {108, -1}},
    {"q4_k", 256, 144, 12, "", {}, kF16, {0, 2}},
    {"q5_k", 256, 176, 13, "", {}, kF16, {0, 2}},
    {"q6_k", 256, 210, 14, "", {}, kF16, {208, -1}},
    {"q8_k", 256, 292, 15, "", {}, kF32},
    {"iq2_xxs", 256, 66, 16, "", {}, kF16},
    {"iq2_xs", 256, 74, 17, "", {}, kF16},
    {"iq3_xxs", 256, 98, 18, "", {}, kF16},
    {"iq1_s", 256, 50, 19, "", {}, kF16},
    {"iq4_nl", 32, 18, 20, "", {}, kF16},
    {"iq3_s", 256, 110, 21, "", {}, kF16},
    {"iq2_s", 256, 82, 22, "", {}, kF16},
    {"iq4_xs", 256, 136, 23, "", {}, kF16},
    {"iq1_m", 256, 56, 29, "", {}, kIq1m, {48, -1}},
    {"tq1_0", 256, 54, 34, "", {}, kF16, {52, -1}},
    {"tq2_0", 256, 66, 35, "", {}, kF16, {64, -1}},
    {"mxfp4", 32, 17, 39, "", {}, kE8M0},
    {"nvfp4", 64, 36, 40, "", {}, kE4M3x4},
    {"q1_0", 128, 18, 41, "", {}, kF16},
};

template <typename Predicate>
const Encoding* FindIf(Predicate predicate) {
  const auto* found =
      std::find_if(std::begin(kEncodings), std::end(kEncodings), predicate);
  return found == std::end(kEncodings) ? nullptr : found;
}

bool FiniteF16(uint16_t bits) { return (bits & 0x7C00) != 0x7C00; }

bool FiniteScale(const Encoding& encoding, const std::byte* block) {
  const std::byte* p = block + encoding.scale_offsets[0];
  switch (encoding.scale) {
    case kNone:
      return true;
    case kF16:
      return FiniteF16(LoadUnaligned<uint16_t>(p)) &&
             (encoding.scale_offsets[1] < 0 ||
              FiniteF16(
                  LoadUnaligned<uint16_t>(block + encoding.scale_offsets[1])));
    case kF32:
      return (LoadUnaligned<uint32_t>(p) & 0x7F800000u) != 0x7F800000u;
    case kE8M0:
      return *p != std::byte{0xFF};
    case kE4M3x4:
      return std::none_of(p, p + 4, [](std::byte b) {
        return (b & std::byte{0x7F}) == std::byte{0x7F};
      });
    case kIq1m: {
      uint16_t bits = 0;
      for (int i = 0; i < 4; ++i) {
        bits |= static_cast<uint16_t>((LoadUnaligned<uint16_t>(p + 2 * i) >> 12)
                                      << (4 * i));
      }
      return FiniteF16(bits);
    }
  }
  return true;
}

}  // namespace

const Encoding* FindEncoding(std::string_view name) {
  return FindIf([&](const Encoding& e) { return e.name == name; });
}

const Encoding* FindGgufEncoding(uint32_t type) {
  if (type > std::numeric_limits<int32_t>::max()) return nullptr;
  return FindIf([&](const Encoding& e) {
    return e.gguf_type == static_cast<int32_t>(type);
  });
}

const Encoding* FindSafetensorsEncoding(std::string_view dtype) {
  if (dtype.empty()) return nullptr;
  return FindIf([&](const Encoding& e) { return e.st_dtype == dtype; });
}

const Encoding& EncodingOf(DType dtype) {
  const Encoding* found =
      FindIf([&](const Encoding& e) { return e.dtype == dtype; });
  CHECK(found != nullptr) << Name(dtype);
  return *found;
}

Status CheckLayout(const Encoding& encoding, std::span<const uint64_t> dims,
                   Shape* shape, uint64_t* bytes) {
  if (dims.size() > Shape::kMaxRank) {
    return Unsupported(std::to_string(dims.size()) + " dimensions, at most " +
                       std::to_string(Shape::kMaxRank) + " are supported");
  }
  // Empty dimensions count as one here, so that no partial product of the
  // others can overflow either.
  uint64_t bound = 1;
  bool empty = false;
  std::array<int64_t, Shape::kMaxRank> signed_dims{};
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < dims.size(); ++i) {
    const auto product = CheckedMul(bound, std::max<uint64_t>(dims[i], 1));
    if (!product || *product > kMax || dims[i] > kMax) {
      return InvalidArgument("the number of its elements overflows");
    }
    bound = *product;
    empty = empty || dims[i] == 0;
    signed_dims[i] = static_cast<int64_t>(dims[i]);
  }
  const uint64_t row = dims.empty() ? 1 : dims.back();
  if (row % encoding.block != 0) {
    return InvalidArgument("rows of " + std::to_string(row) +
                           " values are not whole " +
                           std::string(encoding.name) + " blocks of " +
                           std::to_string(encoding.block));
  }
  const auto total = CheckedMul(bound / encoding.block, encoding.bytes);
  if (!total || *total > kMax) {
    return InvalidArgument("the number of its bytes overflows");
  }
  *shape = Shape(std::span<const int64_t>(signed_dims.data(), dims.size()));
  *bytes = empty ? 0 : *total;
  return Status::Ok();
}

int64_t FindBadScale(const Encoding& encoding, std::span<const std::byte> data,
                     int64_t limit) {
  if (encoding.plain() || limit <= 0) return -1;
  const auto blocks = static_cast<int64_t>(data.size() / encoding.bytes);
  const int64_t step = (blocks + limit - 1) / limit;
  for (int64_t i = 0; i < blocks; i += std::max<int64_t>(step, 1)) {
    if (!FiniteScale(encoding, data.data() + i * encoding.bytes)) return i;
  }
  return -1;
}

}  // namespace intarsia
