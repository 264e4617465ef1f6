// For the rooms' tests: rows in and out of a format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/format.h"

namespace intarsia::formats {

inline std::vector<float> Dequantized(const Format& format,
                                      const std::vector<uint8_t>& bytes,
                                      int64_t k) {
  std::vector<float> out(k);
  format.DequantizeRow(reinterpret_cast<const std::byte*>(bytes.data()),
                       out.data(), k);
  return out;
}

inline std::vector<uint8_t> Quantized(const Format& format,
                                      const std::vector<float>& values) {
  const int64_t k = static_cast<int64_t>(values.size());
  std::vector<uint8_t> out(format.row_bytes(k));
  format.QuantizeRow(values.data(), reinterpret_cast<std::byte*>(out.data()),
                     k);
  return out;
}

inline std::vector<float> RoundTrip(const Format& format,
                                    const std::vector<float>& values) {
  return Dequantized(format, Quantized(format, values),
                     static_cast<int64_t>(values.size()));
}

// "Vnni": a part of a test's name.
std::string NameOf(Integers integers);

// Normal numbers in blocks of 32 with very different sizes.
std::vector<float> TestValues(int64_t k, uint64_t seed);

}  // namespace intarsia::formats
