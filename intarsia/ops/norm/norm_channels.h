// The constants of a norm's channels, for its CPU forms.
#pragma once

#include <vector>

#include "intarsia/formats/weight.h"

namespace intarsia::norm {

// A constant of every channel: row r uses entry r mod groups of [groups, D].
// The stored values plus `offset`, or `absent` where there are none.
class Channels {
 public:
  Channels(const Weight* weight, int64_t dim, float absent, float offset = 0)
      : dim_(dim) {
    if (weight == nullptr) {
      own_.assign(dim, absent);
    } else {
      groups_ = dim == 0 ? 1 : weight->shape().numel() / dim;
      data_ = weight->f32();
      if (offset != 0) {
        own_.assign(data_, data_ + groups_ * dim);
        for (float& s : own_) s += offset;
      }
    }
    if (!own_.empty()) data_ = own_.data();
  }
  Channels(const Channels&) = delete;

  const float* row(int64_t r) const { return data_ + (r % groups_) * dim_; }

 private:
  int64_t dim_, groups_ = 1;
  const float* data_ = nullptr;
  std::vector<float> own_;
};

}  // namespace intarsia::norm
