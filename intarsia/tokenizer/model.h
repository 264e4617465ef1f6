// What turns the pieces of a text into tokens: BPE, Unigram, or the longest
// match. A model is immutable, and threads may share it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace intarsia {

class TokenModel {
 public:
  virtual ~TokenModel() = default;

  // Appends the tokens of each piece, in order. A piece is not empty and
  // shorter than 2 GiB; it is valid UTF-8 unless the model is one of bytes.
  virtual void Encode(std::span<const std::string_view> pieces,
                      std::vector<int32_t>* ids) const = 0;
};

}  // namespace intarsia
