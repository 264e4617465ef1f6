#include "intarsia/cache/pool.h"

#include <algorithm>
#include <string>

#include "intarsia/core/device.h"
#include "intarsia/core/lazy_memory.h"

namespace intarsia {
namespace {

Shape WithFront(std::initializer_list<int64_t> front, const Shape& shape) {
  std::vector<int64_t> dims(front);
  dims.insert(dims.end(), shape.dims().begin(), shape.dims().end());
  return Shape(dims);
}

bool PerSequence(const StateSpec& spec) {
  return spec.growth == StateSpec::Growth::kSequence;
}

}  // namespace

StatePool::StatePool(std::vector<std::vector<StateSpec>> sublayers,
                     Options options)
    : options_(options) {
  CHECK_GE(options_.slots, 1);
  CHECK(options_.page > 0 && options_.page % 64 == 0) << options_.page;
  const int64_t pages = pages_for(options_.tokens);
  for (const std::vector<StateSpec>& specs : sublayers) {
    for (const StateSpec& spec : specs) {
      CHECK(spec.growth != StateSpec::Growth::kSelected)
          << spec.name << ": pools of selected entries come with recursion";
      if (PerSequence(spec)) {
        bytes_per_sequence_ += spec.shape.numel() * SizeOf(DType::kF32);
      } else {
        bytes_per_token_ += spec.shape.numel() * SizeOf(options_.token_dtype);
        has_tokens_ = true;
      }
    }
  }
  CheckMemory();
  bytes_ = options_.slots * bytes_per_sequence_ +
           pages * options_.page * bytes_per_token_;
  for (std::vector<StateSpec>& specs : sublayers) {
    Sublayer sublayer;
    for (const StateSpec& spec : specs) {
      sublayer.pools.push_back(
          PerSequence(spec)
              ? MakePool(WithFront({options_.slots}, spec.shape), DType::kF32)
              : MakePool(WithFront({pages, options_.page}, spec.shape),
                         options_.token_dtype));
    }
    sublayer.specs = std::move(specs);
    sublayers_.push_back(std::move(sublayer));
  }
  slots_.resize(options_.slots);
  for (int s = options_.slots - 1; s >= 0; --s) free_slots_.push_back(s);
  if (has_tokens_) {
    for (int64_t p = pages - 1; p >= 0; --p) {
      free_pages_.push_back(static_cast<int32_t>(p));
    }
  }
}

void StatePool::CheckMemory() const {
  if (!options_.device.is_cpu()) return;  // its allocator says what is free
  const double tokens = static_cast<double>(pages_for(options_.tokens)) *
                        static_cast<double>(options_.page);
  const double wanted =
      tokens * static_cast<double>(bytes_per_token_) +
      double{1} * options_.slots * static_cast<double>(bytes_per_sequence_);
  const double free = static_cast<double>(AvailableMemory());
  if (wanted <= free) return;
  const auto mebibytes = [](double bytes) {
    return std::to_string(static_cast<int64_t>(bytes / (1 << 20))) + " MiB";
  };
  std::string message =
      "[cache] the state does not fit in memory: " +
      std::to_string(bytes_per_token_) + " bytes a token, " +
      std::to_string(bytes_per_sequence_) + " bytes a sequence; " +
      std::to_string(static_cast<int64_t>(tokens)) + " tokens and " +
      std::to_string(options_.slots) + " sequences want " + mebibytes(wanted) +
      ", free are " + mebibytes(free);
  const double sequences =
      double{1} * options_.slots * static_cast<double>(bytes_per_sequence_);
  if (bytes_per_token_ > 0 && free > sequences) {
    message += "; give a smaller --ctx (" +
               std::to_string(static_cast<int64_t>(
                   (free - sequences) / static_cast<double>(bytes_per_token_) /
                   options_.slots)) +
               " tokens a sequence would fit) or --state-dtype";
  }
  throw EngineError(message);
}

Tensor StatePool::MakePool(const Shape& shape, DType dtype) const {
  const size_t bytes = static_cast<size_t>(shape.numel()) * SizeOf(dtype);
  constexpr size_t kLazy = size_t{1} << 20;
  if (!options_.device.is_cpu() || bytes < kLazy) {
    return Tensor::Zeros(shape, dtype, options_.device);
  }
  std::shared_ptr<Storage> storage = LazyZeros(bytes);
  if (storage == nullptr) {
    throw EngineError("[cache] the system refuses " + std::to_string(bytes) +
                      " bytes of address space for state; give a smaller "
                      "--ctx");
  }
  return Tensor::Wrap(std::move(storage), 0, shape, dtype);
}

int64_t StatePool::bytes_taken() const {
  return slots_taken_ * bytes_per_sequence_ +
         pages_taken_ * options_.page * bytes_per_token_;
}

int StatePool::Acquire() {
  if (free_slots_.empty()) return -1;
  const int slot = free_slots_.back();
  free_slots_.pop_back();
  slots_taken_ =
      std::max(slots_taken_, options_.slots - static_cast<int>(free_slots()));
  slots_[slot] = {.used = true, .length = 0, .pages = {}};
  for (Sublayer& sublayer : sublayers_) {
    for (size_t i = 0; i < sublayer.specs.size(); ++i) {
      const StateSpec& spec = sublayer.specs[i];
      if (!PerSequence(spec)) continue;
      Tensor row = sublayer.pools[i].Select(0, slot);
      if (spec.init == 0.0f) {
        Backend(row.device()).Zero(row.mutable_raw(), row.nbytes(), nullptr);
      } else {
        row.CopyFrom(Tensor::Full(spec.shape, spec.init).To(row.device()));
      }
    }
  }
  return slot;
}

void StatePool::Release(int slot) {
  Slot& s = slots_.at(slot);
  CHECK(s.used) << "slot " << slot;
  free_pages_.insert(free_pages_.end(), s.pages.rbegin(), s.pages.rend());
  s = Slot();
  free_slots_.push_back(slot);
}

bool StatePool::Reserve(int slot, int64_t tokens) {
  Slot& s = slots_.at(slot);
  CHECK(s.used) << "slot " << slot;
  if (!has_tokens_) return true;
  const int64_t need = pages_for(tokens) - static_cast<int64_t>(s.pages.size());
  if (need > free_pages()) return false;
  for (int64_t i = 0; i < need; ++i) {
    s.pages.push_back(free_pages_.back());
    free_pages_.pop_back();
  }
  pages_taken_ =
      std::max(pages_taken_, pages_for(options_.tokens) - free_pages());
  return true;
}

std::vector<StateView> StatePool::View(const Batch& batch) const {
  std::vector<std::span<const int32_t>> table(slots_.size());
  for (size_t s = 0; s < slots_.size(); ++s) table[s] = slots_[s].pages;
  std::vector<int32_t> before(batch.segments(), 0);
  for (int64_t n = 0; n < batch.segments(); ++n) {
    const Slot& s = slots_.at(batch.slots[n]);
    CHECK(s.used) << "segment " << n << " names free slot " << batch.slots[n];
    if (batch.length(n) == 0) continue;
    before[n] = batch.positions[batch.begin(n)];
    const int64_t end = before[n] + batch.length(n);
    CHECK(!has_tokens_ ||
          pages_for(end) <= static_cast<int64_t>(s.pages.size()))
        << "entries of segment " << n << " are not reserved";
  }
  if (options_.device.is_cuda() && has_tokens_) {
    const int64_t width = pages_for(options_.tokens);
    std::vector<int32_t> rows(slots_.size() * width, 0);
    for (size_t s = 0; s < slots_.size(); ++s) {
      std::copy(table[s].begin(), table[s].end(), rows.begin() + s * width);
    }
    // Allocated once, for the most sequences: recorded graphs keep pointers to
    // them, whatever batches come between.
    const int64_t slots = static_cast<int64_t>(slots_.size());
    if (!device_table_.defined()) {
      device_table_ =
          Tensor::Empty({slots, width}, DType::kI32, options_.device);
      device_entries_ = Tensor::Empty({slots}, DType::kI32, options_.device);
    }
    auto upload = [&](const std::vector<int32_t>& host, Tensor* out) {
      CHECK_LE(static_cast<int64_t>(host.size()), out->numel());
      Backend(options_.device)
          .CopyToDevice(out->mutable_raw(), host.data(),
                        host.size() * sizeof(int32_t), nullptr);
    };
    upload(rows, &device_table_);
    upload(before, &device_entries_);
  }
  std::vector<StateView> views;
  for (const Sublayer& sublayer : sublayers_) {
    StateView& view = views.emplace_back();
    for (size_t i = 0; i < sublayer.specs.size(); ++i) {
      StateView::Entry& entry = view.entries.emplace_back();
      if (PerSequence(sublayer.specs[i])) {
        entry.sequence = sublayer.pools[i];
        continue;
      }
      entry.tokens = {.pool = sublayer.pools[i],
                      .page = options_.page,
                      .table = table,
                      .device_table = device_table_,
                      .entries_before = before,
                      .device_entries_before = device_entries_,
                      .positions = {}};
    }
  }
  return views;
}

std::vector<StatePool::Saved> StatePool::Save(int slot) const {
  const Slot& s = slots_.at(slot);
  CHECK(s.used) << "slot " << slot;
  std::vector<Saved> saved;
  for (size_t l = 0; l < sublayers_.size(); ++l) {
    for (size_t i = 0; i < sublayers_[l].specs.size(); ++i) {
      const StateSpec& spec = sublayers_[l].specs[i];
      const Tensor& pool = sublayers_[l].pools[i];
      const std::string name = std::to_string(l) + "." + spec.name;
      if (PerSequence(spec)) {
        saved.push_back({name, pool.Select(0, slot).Clone().To(Cpu())});
        continue;
      }
      Tensor rows =
          Tensor::Empty(WithFront({s.length}, spec.shape), pool.dtype());
      for (int64_t begin = 0, p = 0; begin < s.length;
           begin += options_.page, ++p) {
        const int64_t n = std::min(options_.page, s.length - begin);
        rows.Slice(0, begin, begin + n)
            .CopyFrom(pool.Select(0, s.pages[p]).Slice(0, 0, n).To(Cpu()));
      }
      saved.push_back({name, std::move(rows)});
    }
  }
  return saved;
}

Status StatePool::Restore(int slot, const std::vector<Saved>& saved,
                          int64_t length) {
  Slot& s = slots_.at(slot);
  CHECK(s.used && s.length == 0) << "slot " << slot << " is not fresh";
  if (!Reserve(slot, length)) {
    return Unavailable("[cache] no room for " + std::to_string(length) +
                       " tokens of saved state");
  }
  size_t next = 0;
  for (size_t l = 0; l < sublayers_.size(); ++l) {
    for (size_t i = 0; i < sublayers_[l].specs.size(); ++i, ++next) {
      const StateSpec& spec = sublayers_[l].specs[i];
      Tensor& pool = sublayers_[l].pools[i];
      const std::string name = std::to_string(l) + "." + spec.name;
      const Shape shape =
          PerSequence(spec) ? spec.shape : WithFront({length}, spec.shape);
      if (next >= saved.size() || saved[next].name != name ||
          !(saved[next].values.shape() == shape) ||
          saved[next].values.dtype() != pool.dtype()) {
        return InvalidArgument("[cache] the saved state does not fit: " + name +
                               " should be " + std::string(Name(pool.dtype())) +
                               " " + shape.ToString());
      }
      const Tensor& values = saved[next].values;
      if (PerSequence(spec)) {
        pool.Select(0, slot).CopyFrom(values.To(pool.device()));
        continue;
      }
      for (int64_t begin = 0, p = 0; begin < length;
           begin += options_.page, ++p) {
        const int64_t n = std::min(options_.page, length - begin);
        pool.Select(0, s.pages[p])
            .Slice(0, 0, n)
            .CopyFrom(values.Slice(0, begin, begin + n).To(pool.device()));
      }
    }
  }
  if (next != saved.size()) {
    return InvalidArgument("[cache] the saved state has " +
                           std::to_string(saved.size()) +
                           " parts, this model " + std::to_string(next));
  }
  s.length = length;
  return Status::Ok();
}

}  // namespace intarsia
