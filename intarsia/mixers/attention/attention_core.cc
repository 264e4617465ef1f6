// The plan of the core: what each query sees, and who computes it.
#include <cmath>

#include "intarsia/mixers/attention/attention_kernels.h"
#include "intarsia/mixers/attention/attention_vjp.h"
#include "intarsia/ops/common/rows.h"

namespace intarsia {
namespace attention_internal {

void FindVisible(const AttentionMask& mask, const int32_t* query_positions,
                 int64_t tokens, const int32_t* key_positions, int64_t begin,
                 int64_t end, Visible* out) {
  // The first entry in [begin, end] whose position is at least p.
  const auto entry_at = [&](int64_t p) {
    if (key_positions == nullptr) return std::clamp(p, begin, end);
    return std::lower_bound(key_positions + begin, key_positions + end, p) -
           key_positions;
  };
  using Kind = AttentionMask::Kind;
  const int64_t prefix_end =
      mask.kind == Kind::kPrefix ? entry_at(mask.prefix) : begin;
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t p = query_positions[t];
    int64_t low = begin, high = end;
    if (mask.window > 0) low = entry_at(p - mask.window + 1);
    if (mask.chunk > 0) low = std::max(low, entry_at(p - p % mask.chunk));
    if (mask.kind != Kind::kBidirectional) {
      high = entry_at(p + 1);
    } else if (mask.window > 0) {
      high = entry_at(p + mask.window);
    }
    low = std::max(low, prefix_end);
    high = std::max(high, low);
    out[t] = {static_cast<int32_t>(begin), static_cast<int32_t>(prefix_end),
              static_cast<int32_t>(low), static_cast<int32_t>(high)};
  }
}

namespace {

// Rows of all heads become those of one.
void GoToHead(int64_t head, int64_t dim, EntryRows* rows) {
  rows->data += head * dim * static_cast<int64_t>(SizeOf(rows->dtype));
  if (rows->scales != nullptr) rows->scales += head * dim / rows->scale_group;
}

// The keys of one segment, before a head is chosen.
struct SegmentKeys {
  EntryRows k, v, bias;
  int64_t entries = 0;
  const int32_t* positions = nullptr;  // of the entries; null: e at e
  std::vector<int32_t> gathered;       // owns them for selected pages
};

EntryRows PagedRows(const TokenPages& pages, int32_t slot) {
  EntryRows rows;
  rows.data = pages.pool.raw();
  rows.dtype = pages.pool.dtype();
  rows.stride = pages.pool.dim(2) * pages.pool.dim(3);
  rows.pages = slot < 0 ? nullptr : pages.table[slot].data();
  rows.page = pages.page;
  if (rows.dtype == DType::kI8) {
    CHECK(pages.scales.defined()) << "codes without scales";
    rows.scales = pages.scales.data<bf16>();
    rows.scale_stride = pages.scales.dim(2) * pages.scales.dim(3);
    rows.scale_group = pages.pool.dim(3) / pages.scales.dim(3);
  }
  return rows;
}

SegmentKeys KeysOfSegment(const Batch& queries, const AttentionKeys& keys,
                          int64_t n) {
  SegmentKeys out;
  if (keys.k_pages == nullptr) {
    const Batch& batch = keys.batch ? *keys.batch : queries;
    const int64_t begin = batch.begin(n);
    const auto rows = [&](const Tensor& x) {
      const int64_t stride = x.dim(1) * x.dim(2);
      EntryRows rows;
      rows.data = x.raw() + begin * stride * sizeof(float);
      rows.stride = stride;
      return rows;
    };
    out.k = rows(keys.k);
    out.v = rows(keys.v);
    if (keys.bias.defined()) out.bias = rows(keys.bias);
    out.entries = batch.length(n);
    out.positions = batch.positions.data() + begin;
    return out;
  }
  const int32_t slot = queries.slots[n];
  out.k = PagedRows(*keys.k_pages, slot);
  out.v = PagedRows(*keys.v_pages, slot);
  if (keys.bias_pages != nullptr) out.bias = PagedRows(*keys.bias_pages, slot);
  if (slot < 0) return out;  // padding sees nothing
  out.entries = keys.k_pages->entries_before[n] + queries.length(n);
  CHECK_LE((out.entries + out.k.page - 1) / out.k.page,
           static_cast<int64_t>(keys.k_pages->table[slot].size()));
  if (keys.k_pages->positions.defined()) {
    const int32_t* stored = keys.k_pages->positions.data<int32_t>();
    for (int64_t e = 0; e < out.entries; ++e) {
      const int64_t page = out.k.pages[e / out.k.page];
      out.gathered.push_back(stored[page * out.k.page + e % out.k.page]);
    }
  }
  return out;
}

float BiasOf(const EntryRows& rows, int64_t e) {
  const std::byte* row = rows.Row(e);
  CHECK(row != nullptr);
  if (rows.dtype == DType::kF32) return *reinterpret_cast<const float*>(row);
  if (rows.dtype == DType::kBF16) {
    return ToFloat(*reinterpret_cast<const bf16*>(row));
  }
  if (rows.dtype == DType::kI8) {
    const bf16 scale = rows.scales[rows.At(e) * rows.scale_stride];
    return ToFloat(scale) *
           static_cast<float>(*reinterpret_cast<const int8_t*>(row));
  }
  CHECK(rows.dtype == DType::kF16) << Name(rows.dtype);
  return ToFloat(*reinterpret_cast<const f16*>(row));
}

void CheckInputs(const Batch& batch, const Tensor& q,
                 const AttentionKeys& keys) {
  CHECK_EQ(q.rank(), 3);
  CHECK_EQ(q.dim(0), batch.size());
  CHECK_EQ(keys.k_pages == nullptr, keys.v_pages == nullptr);
  CHECK_LE(0, keys.begin);
  if (keys.k_pages != nullptr) {
    CHECK_EQ(keys.k_pages->pool.rank(), 4);
    CHECK_EQ(keys.v_pages->pool.rank(), 4);
    CHECK_EQ(keys.k_pages->pool.dim(3), q.dim(2));
    CHECK_EQ(keys.k_pages->pool.dim(2), keys.v_pages->pool.dim(2));
    CHECK_GT(keys.k_pages->page, 0);
    return;
  }
  const Batch& rows = keys.batch ? *keys.batch : batch;
  CHECK_EQ(rows.segments(), batch.segments());
  CHECK_EQ(keys.k.rank(), 3);
  CHECK_EQ(keys.v.rank(), 3);
  CHECK_EQ(keys.k.dim(0), rows.size());
  CHECK_EQ(keys.v.dim(0), rows.size());
  CHECK_EQ(keys.k.dim(1), keys.v.dim(1));
  CHECK_EQ(keys.k.dim(2), q.dim(2));
  for (int64_t n = 0; n < rows.segments(); ++n) {
    for (int64_t t = rows.begin(n) + 1; t < rows.begin(n + 1); ++t) {
      CHECK_LT(rows.positions[t - 1], rows.positions[t]);
    }
  }
}

// Tokens [token, token + tokens) of a segment, heads [head, head + heads). They
// see entries of spans [span, span + spans).
struct Block {
  int64_t segment, token, tokens, head, heads;
  int64_t span = 0, spans = 1;
};

// A block of tokens and a whole group of heads each, so that keys are read
// once; single heads where that leaves threads without work. Later tokens,
// which see more keys, come first; the heads of a block of tokens follow one
// another. The cut changes no bit of the result.
std::vector<Block> PlanBlocks(const Batch& batch,
                              const std::vector<Visible>& visible,
                              int64_t kv_heads, int64_t group, int threads) {
  const auto plan = [&](int64_t heads) {
    const int64_t step = std::max<int64_t>(1, kRows / heads);
    std::vector<Block> blocks;
    for (int64_t n = batch.segments() - 1; n >= 0; --n) {
      const int64_t steps = (batch.length(n) + step - 1) / step;
      for (int64_t i = steps - 1; i >= 0; --i) {
        const int64_t t = batch.begin(n) + i * step;
        Block block{n, t, std::min(step, batch.begin(n + 1) - t), 0, heads};
        int64_t first, last;
        Extent(visible.data() + t, block.tokens, &first, &last);
        if (first < last) {
          block.span = first / kSpan;
          block.spans = (last + kSpan - 1) / kSpan - block.span;
        }
        for (; block.head < kv_heads * group; block.head += heads) {
          blocks.push_back(block);
        }
      }
    }
    return blocks;
  };
  std::vector<Block> blocks = plan(group);
  int64_t tasks = 0;
  for (const Block& block : blocks) tasks += block.spans;
  if (group > 1 && tasks < threads) blocks = plan(1);
  return blocks;
}

template <typename Task>
void RunTasks(ThreadPool* pool, size_t count, const Task& task) {
  const int64_t n = static_cast<int64_t>(count);
  if (pool != nullptr) return pool->Run(n, task);
  for (int64_t i = 0; i < n; ++i) task(i);
}

// Blocks [first, first + count), which differ by the head alone: all their
// keys, or some spans of them.
struct Task {
  int64_t first, count;
  int64_t span = 0, spans = 0;  // 0: all
};

// A tile of the keys and values of a task's heads, and the next, stay in the
// second-level cache.
constexpr int64_t kTileBytes = 128 * 1024;

// How many key heads a task reads: as many as lie side by side in memory, but
// for the work of all threads.
int64_t HeadsOfTask(const std::vector<Block>& blocks, const ForwardArgs& a,
                    int64_t kv_heads, int64_t spans, int threads) {
  if (blocks[0].heads * kv_heads != a.lse_stride) {
    return 1;  // several blocks read the same key head
  }
  const auto bytes =
      kTile * static_cast<int64_t>(a.key_dim * SizeOf(a.k.dtype) +
                                   a.value_dim * SizeOf(a.v.dtype));
  const int64_t most = std::clamp<int64_t>(kTileBytes / bytes, 1, kv_heads);
  return std::clamp<int64_t>(spans / (2 * threads), 1, most);
}

// Few queries read many keys: some spans for some heads are a task, then each
// block adds its spans up. Other blocks are a task each.
class Plan {
 public:
  Plan(const std::vector<Block>& blocks, const std::vector<ForwardArgs>& args,
       int64_t kv_heads, int threads)
      : blocks_(blocks), args_(args), sums_at_(blocks.size()) {
    const auto size = static_cast<int64_t>(blocks.size());
    int64_t spans = 0;
    for (const Block& block : blocks) spans += block.spans;
    const int64_t heads =
        HeadsOfTask(blocks, args[0], kv_heads, spans, threads);
    const int64_t stretch = std::max<int64_t>(1, spans / (2 * threads * heads));
    const bool scarce = size < 4 * threads;
    for (int64_t b = 0, count; b < size; b += count) {
      const Block& block = blocks[b];
      count = 1;
      if (!Few(args[b]) && !(scarce && block.spans > 1)) {
        tasks_.push_back({b, 1});
        continue;
      }
      count = std::min(heads, kv_heads - b % kv_heads);
      const int64_t floats =
          args[b].rows() * SumsStride(args[b].value_dim) * block.spans;
      for (int64_t i = 0; i < count; ++i) {
        sums_at_[b + i] = floats_ + i * floats;
        if (block.spans > 1) split_.push_back(b + i);
      }
      for (int64_t i = 0; i < block.spans; i += stretch) {
        tasks_.push_back(
            {b, count, block.span + i, std::min(stretch, block.spans - i)});
      }
      floats_ += count * floats;
    }
  }

  void Run(ThreadPool* pool) const {
    Tensor all = Tensor::Empty({floats_});
    float* sums = all.mutable_data<float>();
    RunTasks(pool, tasks_.size(), [&](int64_t i) { RunTask(tasks_[i], sums); });
    ForRange(pool, static_cast<int64_t>(split_.size()), 16,
             [&](int64_t i0, int64_t i1) {
               for (int64_t i = i0; i < i1; ++i) Finish(split_[i], sums);
             });
  }

 private:
  void RunTask(const Task& task, float* sums) const {
    const Block& block = blocks_[task.first];
    const ForwardArgs& a = args_[task.first];
    Tensor scratch = Tensor::Empty({ForwardScratch(a, task.count)});
    if (task.spans == 0) {
      return ForwardBlock(a, scratch.mutable_data<float>());
    }
    const int64_t part = a.rows() * SumsStride(a.value_dim);
    std::vector<float*> at;
    for (int64_t i = 0; i < task.count; ++i) {
      at.push_back(sums + sums_at_[task.first + i] +
                   (task.span - block.span) * part);
    }
    ForwardSpans({&a, static_cast<size_t>(task.count)}, task.span, task.spans,
                 at.data(), scratch.mutable_data<float>());
    if (block.spans > 1) return;
    for (int64_t i = 0; i < task.count; ++i) Finish(task.first + i, sums);
  }
  void Finish(int64_t b, float* sums) const {
    FinishSpans(args_[b], blocks_[b].spans, sums + sums_at_[b]);
  }

  const std::vector<Block>& blocks_;
  const std::vector<ForwardArgs>& args_;
  std::vector<Task> tasks_;
  std::vector<int64_t> sums_at_;  // of each block's first span
  std::vector<int64_t> split_;    // blocks of several spans
  int64_t floats_ = 0;
};

}  // namespace
}  // namespace attention_internal

namespace {

AttentionResult CoreOnCpu(Context& ctx, const Tensor& q,
                          const AttentionKeys& keys,
                          const AttentionCoreConfig& config,
                          const Weight* sinks) {
  using namespace attention_internal;
  const Batch& batch = *ctx.batch;
  CheckInputs(batch, q, keys);
  const bool paged = keys.k_pages != nullptr;
  const Tensor queries = q.Contiguous();
  AttentionKeys source = keys;
  if (!paged) {
    source.k = keys.k.Contiguous();
    source.v = keys.v.Contiguous();
    if (keys.bias.defined()) source.bias = keys.bias.Contiguous();
  }
  const int64_t heads = q.dim(1), key_dim = q.dim(2);
  const int64_t kv_heads = paged ? keys.k_pages->pool.dim(2) : keys.k.dim(1);
  const int64_t value_dim = paged ? keys.v_pages->pool.dim(3) : keys.v.dim(2);
  CHECK_GT(kv_heads, 0);
  CHECK_EQ(heads % kv_heads, 0);
  const int64_t group = heads / kv_heads;
  if (sinks != nullptr) CHECK_EQ(sinks->values().numel(), heads);
  if (!config.slopes.empty()) {
    CHECK_EQ(static_cast<int64_t>(config.slopes.size()), heads);
  }

  std::vector<SegmentKeys> segments(batch.segments());
  std::vector<Visible> visible(batch.size());
  for (int64_t n = 0; n < batch.segments(); ++n) {
    SegmentKeys& segment = segments[n];
    if (batch.length(n) == 0) continue;
    segment = KeysOfSegment(batch, source, n);
    const int64_t end = std::min<int64_t>(keys.end, segment.entries);
    FindVisible(
        config.mask, batch.positions.data() + batch.begin(n), batch.length(n),
        segment.gathered.empty() ? segment.positions : segment.gathered.data(),
        std::min(keys.begin, end), end, visible.data() + batch.begin(n));
  }

  std::vector<float> floors;  // [key heads, tokens]
  if (config.keep > 0) {
    floors.resize(kv_heads * batch.size());
    ForRange(ctx.pool, batch.segments() * kv_heads, 1,
             [&](int64_t begin, int64_t end) {
               for (int64_t i = begin; i < end; ++i) {
                 const int64_t n = i / kv_heads, g = i % kv_heads;
                 EntryRows rows = segments[n].bias;
                 if (batch.length(n) == 0 || rows.data == nullptr) continue;
                 GoToHead(g, 1, &rows);
                 FindFloors(
                     visible.data() + batch.begin(n), batch.length(n),
                     config.keep, [&](int64_t e) { return BiasOf(rows, e); },
                     floors.data() + g * batch.size() + batch.begin(n));
               }
             });
  }

  AttentionResult result{Tensor::Empty({batch.size(), heads, value_dim}),
                         Tensor::Empty({batch.size(), heads})};
  float* out = result.out.mutable_data<float>();
  float* lse = result.lse.mutable_data<float>();
  const int threads = ctx.pool ? ctx.pool->size() : 1;
  const std::vector<Block> blocks =
      PlanBlocks(batch, visible, kv_heads, group, threads);
  std::vector<ForwardArgs> calls(blocks.size());
  for (size_t b = 0; b < blocks.size(); ++b) {
    const Block& block = blocks[b];
    ForwardArgs& args = calls[b];
    args.k = segments[block.segment].k;
    args.v = segments[block.segment].v;
    const int64_t kv_head = block.head / group;
    GoToHead(kv_head, key_dim, &args.k);
    GoToHead(kv_head, value_dim, &args.v);
    args.visible = visible.data() + block.token;
    args.bias = segments[block.segment].bias;
    if (args.bias.data != nullptr) GoToHead(kv_head, 1, &args.bias);
    if (config.keep > 0) {
      args.floors = floors.data() + kv_head * batch.size() + block.token;
    }
    if (!config.slopes.empty()) {
      const SegmentKeys& segment = segments[block.segment];
      args.slopes = config.slopes.data() + block.head;
      args.query_positions = batch.positions.data() + block.token;
      args.positions = segment.gathered.empty() ? segment.positions
                                                : segment.gathered.data();
    }
    args.q_stride = heads * key_dim;
    args.q = queries.data<float>() + block.token * args.q_stride +
             block.head * key_dim;
    args.out_stride = heads * value_dim;
    args.out = out + block.token * args.out_stride + block.head * value_dim;
    args.lse_stride = heads;
    args.lse = lse + block.token * heads + block.head;
    args.sinks = sinks ? sinks->f32() + block.head : nullptr;
    args.tokens = block.tokens;
    args.group = block.heads;
    args.key_dim = key_dim;
    args.value_dim = value_dim;
    args.scale = static_cast<float>(
        config.scale > 0 ? config.scale : 1.0 / std::sqrt(key_dim));
    args.softcap = static_cast<float>(config.softcap);
  }
  if (!blocks.empty()) Plan(blocks, calls, kv_heads, threads).Run(ctx.pool);
  return result;
}

AttentionResult MergeOnCpu(Context& ctx, const AttentionResult& a,
                           const AttentionResult& b) {
  using namespace attention_internal;
  AttentionResult result{Tensor::Empty(a.out.shape()),
                         Tensor::Empty(a.lse.shape())};
  const AttentionResult ca{a.out.Contiguous(), a.lse.Contiguous()};
  const AttentionResult cb{b.out.Contiguous(), b.lse.Contiguous()};
  ForRange(ctx.pool, a.lse.numel(), 64, [&](int64_t begin, int64_t end) {
    MergeRows(ca.out.data<float>(), ca.lse.data<float>(), cb.out.data<float>(),
              cb.lse.data<float>(), result.out.mutable_data<float>(),
              result.lse.mutable_data<float>(), begin, end, a.out.dim(2));
  });
  return result;
}

}  // namespace

AttentionResult AttentionCore(Context& ctx, const Tensor& q,
                              const AttentionKeys& keys,
                              const AttentionCoreConfig& config,
                              const Weight* sinks) {
  CHECK(ctx.batch != nullptr);
  CHECK(ctx.tape == nullptr || keys.k_pages == nullptr)
      << "stored keys have no gradients";
  std::vector<Tensor> inputs = {q, keys.k, keys.v};
  if (keys.bias.defined()) inputs.push_back(keys.bias);
  return Run(
      ctx, attention_internal::Door(), q.device(), inputs,
      [&] { return CoreOnCpu(ctx, q, keys, config, sinks); },
      [&](const attention_cuda::Kernels& cuda) {
        CHECK(config.plain() && !keys.bias.defined()) << "no such CUDA kernel";
        return cuda.core(ctx, q, keys, config, sinks);
      },
      [&](const AttentionResult& result) {
        return attention_internal::CoreVjp(ctx.tape, q, keys, config, sinks,
                                           result);
      });
}

AttentionResult MergeAttention(Context& ctx, const AttentionResult& a,
                               const AttentionResult& b) {
  CHECK_EQ(a.out.shape(), b.out.shape());
  CHECK_EQ(a.lse.shape(), b.lse.shape());
  return Run(
      ctx, CpuOnly("merge_attention", "attention"), a.out.device(),
      {a.out, a.lse, b.out, b.lse}, [&] { return MergeOnCpu(ctx, a, b); },
      [&](const AttentionResult& result) {
        return attention_internal::MergeVjp(a, b, result);
      });
}

}  // namespace intarsia
