#include "intarsia/core/batch.h"

#include <algorithm>
#include <utility>

namespace intarsia {

int64_t Batch::longest() const {
  int64_t most = 0;
  for (int64_t n = 0; n < segments(); ++n) most = std::max(most, length(n));
  return most;
}

int64_t Batch::kv_capacity() const {
  int64_t capacity = 512;
  for (int64_t n = 0; n < segments(); ++n) {
    while (length(n) > 0 && capacity <= positions[begin(n + 1) - 1]) {
      capacity *= 2;
    }
  }
  return capacity;
}

int64_t Batch::sequence_length(int64_t n) const {
  if (!lengths.empty()) return lengths.at(n);
  return length(n) == 0 ? 0 : int64_t{positions[begin(n + 1) - 1]} + 1;
}

void Batch::Add(std::span<const int32_t> segment, int32_t first_position,
                int32_t slot) {
  if (cu_seqlens.empty()) cu_seqlens.push_back(0);
  tokens.insert(tokens.end(), segment.begin(), segment.end());
  for (size_t i = 0; i < segment.size(); ++i) {
    positions.push_back(first_position + static_cast<int32_t>(i));
  }
  slots.push_back(slot >= 0 ? slot : static_cast<int32_t>(segments()));
  cu_seqlens.push_back(static_cast<int32_t>(positions.size()));
}

Batch Batch::Select(std::span<const int32_t> rows) const {
  CHECK(std::is_sorted(rows.begin(), rows.end()));
  Batch out;
  out.slots = slots;
  for (int64_t n = 0; n < segments(); ++n) {
    out.lengths.push_back(static_cast<int32_t>(sequence_length(n)));
  }
  out.cu_seqlens.push_back(0);
  size_t next = 0;
  for (int64_t n = 0; n < segments(); ++n) {
    for (; next < rows.size() && rows[next] < cu_seqlens[n + 1]; ++next) {
      out.positions.push_back(positions[rows[next]]);
      if (!tokens.empty()) out.tokens.push_back(tokens[rows[next]]);
    }
    out.cu_seqlens.push_back(static_cast<int32_t>(out.positions.size()));
  }
  CHECK_EQ(next, rows.size());
  return out;
}

std::vector<int32_t> Batch::SegmentIds() const {
  std::vector<int32_t> ids(positions.size());
  for (int64_t n = 0; n < segments(); ++n) {
    std::fill(ids.begin() + cu_seqlens[n], ids.begin() + cu_seqlens[n + 1],
              static_cast<int32_t>(n));
  }
  return ids;
}

void Batch::Upload(Device target, DeviceStream stream) {
  std::vector<int32_t> known(segments()), kv(segments()), cu_kv(segments() + 1);
  for (int64_t n = 0; n < segments(); ++n) {
    known[n] = static_cast<int32_t>(sequence_length(n));
    // Padding (slot -1) has no keys.
    const bool none = length(n) == 0 || (!slots.empty() && slots[n] < 0);
    kv[n] = none ? 0 : positions[begin(n + 1) - 1] + 1;
    cu_kv[n + 1] = cu_kv[n] + kv[n];
  }
  const std::pair<const std::vector<int32_t>, Tensor*> parts[] = {
      {tokens, &device.tokens},
      {positions, &device.positions},
      {cu_seqlens, &device.cu_seqlens},
      {slots, &device.slots},
      {SegmentIds(), &device.segment_ids},
      {known, &device.lengths},
      {kv, &device.kv_lengths},
      {cu_kv, &device.cu_kv_lengths}};
  // One copy. Each part begins at a multiple of 16 bytes.
  std::vector<int32_t> host;
  bool same = device.all.defined();
  for (const auto& [values, tensor] : parts) {
    same = same && tensor->numel() == static_cast<int64_t>(values.size());
    host.insert(host.end(), values.begin(), values.end());
    host.resize((host.size() + 3) / 4 * 4);
  }
  if (!same) {
    device.all =
        Tensor::Empty({static_cast<int64_t>(host.size())}, DType::kI32, target);
    int64_t at = 0;
    for (const auto& [values, tensor] : parts) {
      const auto n = static_cast<int64_t>(values.size());
      *tensor = device.all.Slice(0, at, at + n);
      at += (n + 3) / 4 * 4;
    }
  }
  if (host.empty()) return;
  Backend(target).CopyToDevice(device.all.mutable_raw(), host.data(),
                               host.size() * sizeof(int32_t), stream);
}

Batch Batch::Of(const std::vector<std::vector<int32_t>>& sequences) {
  Batch batch;
  batch.cu_seqlens.push_back(0);
  for (const std::vector<int32_t>& sequence : sequences) batch.Add(sequence);
  return batch;
}

Batch Batch::OfLengths(std::span<const int32_t> lengths) {
  Batch batch;
  batch.cu_seqlens.push_back(0);
  for (int32_t length : lengths) {
    batch.Add(std::vector<int32_t>(length, 0));
  }
  return batch;
}

}  // namespace intarsia
