#include "intarsia/cache/state_layout.h"

#include <algorithm>

namespace intarsia {
namespace {

using Growth = StateSpec::Growth;

Shape WithFront(std::initializer_list<int64_t> front, const Shape& shape) {
  std::vector<int64_t> dims(front);
  dims.insert(dims.end(), shape.dims().begin(), shape.dims().end());
  return Shape(dims);
}

std::string NameOf(size_t sublayer, const StateSpec& spec) {
  return std::to_string(sublayer) + "." + spec.name;
}

Status Refuse(const std::string& name, const std::string& what) {
  return InvalidArgument("[cache] state " + name + ": " + what);
}

// A page of a small window holds no more than the window needs.
int64_t PageOf(const StateSpec& spec, int64_t page) {
  if (spec.keep_last == 0) return page;
  return std::min(page, (spec.keep_last + 15) / 16 * 16);
}

class Builder {
 public:
  Builder(const StateLayout::Options& options, StateLayout* layout)
      : options_(options), layout_(*layout) {}

  Status Add(size_t sublayer, StateSpec spec) {
    const std::string name = NameOf(sublayer, spec);
    if (options_.ranks > 1 && spec.shard_axis >= 0) {
      const int64_t whole = spec.shape[spec.shard_axis];
      if (whole % options_.ranks != 0) {
        return Refuse(name, spec.shape.ToString() + " does not divide among " +
                                std::to_string(options_.ranks) + " ranks");
      }
      spec.shape = spec.shape.With(spec.shard_axis, whole / options_.ranks);
    }
    if (spec.owner >= 0) return Share(name, sublayer, spec);
    if (spec.growth == Growth::kSelected) {
      return Refuse(name, "pools keep no entries of selected tokens");
    }
    if (spec.dtype != DType::kF32 && spec.dtype != DType::kI32) {
      return Refuse(name, "is " + std::string(Name(spec.dtype)) +
                              ", it may be f32 or i32");
    }
    if (spec.stride < 1 || spec.keep_first < 0 || spec.keep_last < 0) {
      return Refuse(name, "stride, keep_first or keep_last is out of range");
    }
    StateLayout::Store store{.name = name, .spec = spec};
    if (spec.growth == Growth::kToken) {
      store.dtype =
          spec.dtype == DType::kI32 ? spec.dtype : options_.token_dtype;
      if (store.dtype == DType::kI8) {
        const int64_t channels = spec.shape[-1];
        store.scale_group =
            channels % kScaleGroup == 0 ? kScaleGroup : channels;
      }
      store.group = GroupOf(spec);
    } else {
      store.dtype = spec.dtype;
    }
    const auto size = static_cast<int64_t>(SizeOf(store.dtype));
    store.entry_bytes = spec.shape.numel() * size;
    if (store.scale_group > 0) {
      store.entry_bytes += spec.shape.numel() / store.scale_group *
                           static_cast<int64_t>(SizeOf(DType::kBF16));
    }
    if (store.group >= 0) {
      layout_.groups[store.group].entry_bytes += store.entry_bytes;
    }
    layout_.stores_of[sublayer].push_back(
        static_cast<int>(layout_.stores.size()));
    layout_.stores.push_back(std::move(store));
    return Status::Ok();
  }

 private:
  Status Share(const std::string& name, size_t sublayer,
               const StateSpec& spec) {
    const auto owner = static_cast<size_t>(spec.owner);
    if (owner >= sublayer) {
      return Refuse(name, "its owner " + std::to_string(owner) +
                              " is not an earlier sublayer");
    }
    for (const int at : layout_.stores_of[owner]) {
      const StateSpec& theirs = layout_.stores[at].spec;
      if (theirs.name != spec.name) continue;
      if (!(theirs.shape == spec.shape) || theirs.growth != spec.growth ||
          theirs.dtype != spec.dtype || theirs.stride != spec.stride) {
        return Refuse(name, "differs from " + layout_.stores[at].name +
                                ", which it shares");
      }
      layout_.stores_of[sublayer].push_back(at);
      return Widen(at, spec);
    }
    return Refuse(name, "sublayer " + std::to_string(owner) +
                            " has no such state to share");
  }

  // What any of the sharers reads stays.
  Status Widen(int at, const StateSpec& spec) {
    StateLayout::Store& store = layout_.stores[at];
    StateSpec& kept = store.spec;
    const bool all = kept.keep_last == 0 || spec.keep_last == 0;
    const int64_t first = all ? 0 : std::max(kept.keep_first, spec.keep_first);
    const int64_t last = all ? 0 : std::max(kept.keep_last, spec.keep_last);
    if (store.group < 0 ||
        (first == kept.keep_first && last == kept.keep_last)) {
      return Status::Ok();
    }
    layout_.groups[store.group].entry_bytes -= store.entry_bytes;
    kept.keep_first = first;
    kept.keep_last = last;
    store.group = GroupOf(kept);
    layout_.groups[store.group].entry_bytes += store.entry_bytes;
    return Status::Ok();
  }

  int GroupOf(const StateSpec& spec) {
    StateLayout::Group group;
    group.stride = spec.stride;
    if (spec.keep_last > 0) {
      group.keep_first = spec.keep_first;
      group.keep_last = spec.keep_last;
    }
    group.page = PageOf(spec, options_.page);
    for (size_t g = 0; g < layout_.groups.size(); ++g) {
      const StateLayout::Group& other = layout_.groups[g];
      if (other.stride == group.stride &&
          other.keep_first == group.keep_first &&
          other.keep_last == group.keep_last) {
        return static_cast<int>(g);
      }
    }
    layout_.groups.push_back(group);
    return static_cast<int>(layout_.groups.size()) - 1;
  }

  const StateLayout::Options& options_;
  StateLayout& layout_;
};

}  // namespace

int64_t StateLayout::Group::FirstKept(int64_t tokens) const {
  if (!windowed()) return 0;
  return std::max<int64_t>(0, entries(tokens) - keep_last);
}

int64_t StateLayout::Group::PagesHeld(int64_t tokens, int64_t step) const {
  const int64_t all = PagesFor(tokens);
  if (!windowed()) return all;
  // While a batch runs: the entries kept before it and its own, which may begin
  // and end within a page.
  const int64_t last = keep_last + (step + stride - 1) / stride;
  const int64_t first = (keep_first + page - 1) / page;
  return std::min(all, first + (last + page - 1) / page + 1);
}

Shape StateLayout::Store::EntryShape(
    std::initializer_list<int64_t> front) const {
  return WithFront(front, spec.shape);
}

Shape StateLayout::Store::ScaleShape(
    std::initializer_list<int64_t> front) const {
  CHECK_GT(scale_group, 0);
  const int last = spec.shape.rank() - 1;
  return WithFront(front,
                   spec.shape.With(last, spec.shape[last] / scale_group));
}

Result<StateLayout> StateLayout::Make(
    const std::vector<std::vector<StateSpec>>& sublayers,
    const Options& options) {
  CHECK(options.page > 0 && options.page % 16 == 0) << options.page;
  CHECK_GE(options.ranks, 1);
  StateLayout layout;
  layout.stores_of.resize(sublayers.size());
  Builder builder(options, &layout);
  for (size_t l = 0; l < sublayers.size(); ++l) {
    for (const StateSpec& spec : sublayers[l]) {
      RETURN_IF_ERROR(builder.Add(l, spec));
    }
  }
  return layout;
}

int64_t StateLayout::bytes_per_sequence() const {
  int64_t bytes = 0;
  for (const Store& store : stores) {
    if (store.group < 0) bytes += store.entry_bytes;
  }
  return bytes;
}

int64_t StateLayout::bytes_per_token() const {
  int64_t bytes = 0;
  for (const Group& group : groups) {
    if (!group.windowed()) bytes += group.entry_bytes / group.stride;
  }
  return bytes;
}

int64_t StateLayout::window_bytes(int64_t context, int64_t step) const {
  int64_t bytes = 0;
  for (const Group& group : groups) {
    if (!group.windowed()) continue;
    bytes += group.PagesHeld(context, step) * group.page_bytes();
  }
  return bytes;
}

int64_t StateLayout::Pages(const Group& group, const PoolSize& size) const {
  const int64_t all = group.PagesFor(size.tokens);
  if (!group.windowed()) return all;
  // Each sequence may end within a page of its own.
  return std::min(all + size.slots,
                  size.slots * group.PagesHeld(size.context, size.step));
}

int64_t StateLayout::Bytes(const PoolSize& size) const {
  int64_t bytes = size.slots * bytes_per_sequence();
  for (const Group& group : groups) {
    bytes += Pages(group, size) * group.page_bytes();
  }
  return bytes;
}

int64_t StateLayout::FitTokens(PoolSize size, int64_t bytes) const {
  int64_t low = 0, high = size.tokens;  // the most that fits lies between
  while (low < high) {
    size.tokens = low + (high - low + 1) / 2;
    if (Bytes(size) <= bytes) {
      low = size.tokens;
    } else {
      high = size.tokens - 1;
    }
  }
  return low;
}

std::vector<StateLayout::Part> StateLayout::Parts(int64_t length) const {
  std::vector<Part> parts;
  for (const Store& store : stores) {
    if (store.group < 0) {
      parts.push_back(
          {store.name, store.dtype, store.spec.shape, store.spec.shape, false});
      continue;
    }
    const Group& group = groups[store.group];
    const int64_t entries = group.entries(length);
    const int64_t gone =
        std::max<int64_t>(0, group.FirstKept(length) - group.keep_first);
    parts.push_back({store.name, store.dtype,
                     store.EntryShape({entries - gone}),
                     store.EntryShape({entries}), true});
    if (store.scale_group == 0) continue;
    parts.push_back({store.name + ".scale", DType::kBF16,
                     store.ScaleShape({entries - gone}),
                     store.ScaleShape({entries}), true});
  }
  return parts;
}

}  // namespace intarsia
