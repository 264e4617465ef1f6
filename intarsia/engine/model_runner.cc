#include "intarsia/engine/model_runner.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "intarsia/distributed/communicator.h"
#include "intarsia/model/state_specs.h"

namespace intarsia {

namespace {

StatePool::Options PoolOptions(const ModelRunner::Options& options) {
  StatePool::Options pool;
  pool.slots = options.sequences;
  // A sequence's last page is part empty.
  pool.tokens = options.sequences * ((options.context + 63) / 64 * 64);
  pool.context = options.context;
  pool.step = options.prefill_chunk;
  pool.token_dtype = options.token_dtype;
  pool.bytes = options.state_bytes;
  pool.ranks = options.tensor_parallel ? options.tensor_parallel->size() : 1;
  pool.device = options.device;
  return pool;
}

// A table of positions ends the context whatever was asked for.
ModelRunner::Options Bounded(ModelRunner::Options options,
                             const ModelConfig& config) {
  CHECK_GE(options.context, 1);
  if (options.prefill_chunk == 0) {
    options.prefill_chunk = options.device.is_cuda() ? 8192 : 512;
  }
  CHECK_GE(options.prefill_chunk, 1);
  if (const int64_t limit = config.position_limit(); limit > 0) {
    options.context = std::min(options.context, limit);
  }
  return options;
}

}  // namespace

// A decode step of one batch size, recorded: its batch and logits stay where
// they are, and a replay rewrites the batch's arrays.
struct ModelRunner::Graph {
  Batch batch;
  ModelState state;
  Tensor logits;
  std::unique_ptr<DeviceGraph> graph;
};

ModelRunner::ModelRunner(const Model& model, const Options& options)
    : model_(model),
      options_(Bounded(options, model.config())),
      threads_(options.threads, options.pin),
      pool_(StateSpecs(model), PoolOptions(options_)),
      sequences_(options_.sequences) {}

ModelRunner::~ModelRunner() = default;

int ModelRunner::Open() {
  const int slot = pool_.Acquire();
  if (slot >= 0) sequences_[slot] = Sequence();
  return slot;
}

Status ModelRunner::Check(const std::vector<Segment>& segments) {
  std::set<int> slots;
  for (const Segment& segment : segments) {
    CHECK(slots.insert(segment.slot).second)
        << "slot " << segment.slot << " twice in a batch";
    CHECK(!segment.tokens.empty());
    const int64_t end = pool_.length(segment.slot) +
                        static_cast<int64_t>(segment.tokens.size());
    if (end > options_.context) {
      const bool learned = options_.context == model_.config().position_limit();
      return InvalidArgument(
          "[engine] the sequence would have " + std::to_string(end) +
          " tokens, " +
          (learned ? "the model has learned positions for " +
                         std::to_string(options_.context) +
                         " and none past them; shorten the text"
                   : "the context holds " + std::to_string(options_.context) +
                         "; raise it with --ctx"));
    }
    for (int32_t token : segment.tokens) {
      if (token < 0 || token >= model_.config().vocab_size) {
        return InvalidArgument("[engine] token " + std::to_string(token) +
                               " is outside the vocabulary of " +
                               std::to_string(model_.config().vocab_size));
      }
    }
  }
  for (const Segment& segment : segments) {
    const int64_t end = pool_.length(segment.slot) +
                        static_cast<int64_t>(segment.tokens.size());
    if (!pool_.Reserve(segment.slot, end)) {
      return Unavailable("[engine] the pool of state has no room for " +
                         std::to_string(end) + " tokens");
    }
  }
  return Status::Ok();
}

Result<std::vector<ModelRunner::Piece>> ModelRunner::Begin(
    const std::vector<Segment>& segments) {
  RETURN_IF_ERROR(Check(segments));
  std::vector<Piece> pieces(segments.size());
  std::vector<int64_t> totals(segments.size());
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    const Sequence& sequence = sequences_[segment.slot];
    const int64_t length = pool_.length(segment.slot);
    pieces[i].slot = segment.slot;
    pieces[i].tokens = segment.tokens;
    totals[i] = std::max({sequence.total, segment.total,
                          length + int64_t(segment.tokens.size())});
    const bool ended =
        length > 0 &&
        std::ranges::any_of(model_.state_ends(), [&](int64_t end) {
          return sequence.total <= end && end < totals[i];
        });
    if (!ended) continue;
    CHECK_EQ(static_cast<int64_t>(sequence.tokens.size()), length);
    pieces[i].again = sequence.tokens;
    pieces[i].again.insert(pieces[i].again.end(), segment.tokens.begin(),
                           segment.tokens.end());
    pieces[i].tokens = pieces[i].again;
    pieces[i].known = static_cast<size_t>(length);
  }
  for (size_t i = 0; i < segments.size(); ++i) {
    const int slot = segments[i].slot;
    sequences_[slot].total = totals[i];
    if (pieces[i].known == 0) continue;
    const int64_t tokens = static_cast<int64_t>(pieces[i].again.size());
    pool_.Release(slot);
    CHECK_EQ(pool_.Acquire(), slot);
    CHECK(pool_.Reserve(slot, tokens));  // it held as many pages before
    sequences_[slot].tokens.clear();
  }
  return pieces;
}

Tensor ModelRunner::Forward(const Batch& batch, ModelState* state,
                            std::span<const int32_t> rows) {
  Context ctx;
  ctx.batch = &batch;
  ctx.pool = &threads_;
  ctx.device = options_.device;
  ctx.tensor_parallel = options_.tensor_parallel;
  ctx.form = options_.form;
  ctx.chunk = options_.chunk;
  ctx.dtype = options_.dtype;
  ctx.report = options_.report;
  return model_.Forward(ctx, state, rows);
}

Tensor ModelRunner::RunDecodeGraph(const Batch& batch) {
  std::unique_ptr<Graph>& graph =
      graphs_[{batch.segments(), batch.kv_capacity()}];
  const bool first = graph == nullptr;
  if (first) graph = std::make_unique<Graph>();
  Batch::OnDevice arrays = std::move(graph->batch.device);
  graph->batch = batch;
  graph->batch.device = std::move(arrays);
  graph->batch.Upload(options_.device);
  // Rewrites the page tables in place; the views stay valid.
  ModelState state{pool_.View(graph->batch)};
  if (first) {
    // The first step runs plainly: kernels load and buffers grow outside of the
    // recording. The next one records.
    graph->logits = Forward(graph->batch, &state, {});
    return graph->logits;
  }
  if (graph->graph == nullptr) {
    graph->state = std::move(state);
    graph->graph = Backend(options_.device).Capture([&] {
      graph->logits = Forward(graph->batch, &graph->state, {});
    });
    CHECK(graph->graph != nullptr);
  }
  graph->graph->Launch();
  ++graph_launches_;
  return graph->logits;
}

Tensor ModelRunner::RunBatch(Batch* batch, std::span<const int32_t> rows) {
  if (options_.device.is_cpu()) {
    ModelState state{pool_.View(*batch)};
    return Forward(*batch, &state, rows);
  }
  const bool decode = batch->size() == batch->segments() && rows.empty() &&
                      !model_.reads_back();
  if (decode) return RunDecodeGraph(*batch).To(Cpu());
  batch->Upload(options_.device);
  ModelState state{pool_.View(*batch)};
  return Forward(*batch, &state, rows).To(Cpu());
}

Result<Tensor> ModelRunner::Run(const std::vector<Segment>& segments,
                                bool all_rows,
                                const std::function<bool()>& cancelled) {
  ASSIGN_OR_RETURN(const std::vector<Piece> pieces, Begin(segments));
  const int64_t vocab = model_.config().vocab_size;
  std::vector<int64_t> first_row(segments.size() + 1, 0);
  for (size_t i = 0; i < segments.size(); ++i) {
    first_row[i + 1] =
        first_row[i] +
        (all_rows ? static_cast<int64_t>(segments[i].tokens.size()) : 1);
  }
  Tensor logits = Tensor::Empty({first_row.back(), vocab});
  std::vector<size_t> done(segments.size(), 0);
  for (bool first = true;; first = false) {
    // A piece of each unfinished segment, to the next absolute multiple.
    Batch batch;
    batch.cu_seqlens.push_back(0);
    std::vector<int32_t> rows;    // of the batch whose logits are wanted
    std::vector<int64_t> target;  // where they go
    for (size_t i = 0; i < pieces.size(); ++i) {
      const auto tokens = pieces[i].tokens.subspan(done[i]);
      if (tokens.empty()) continue;
      const int64_t position = pool_.length(pieces[i].slot);
      const size_t n = std::min<size_t>(
          tokens.size(),
          options_.prefill_chunk - position % options_.prefill_chunk);
      batch.Add(tokens.first(n), static_cast<int32_t>(position),
                pieces[i].slot);
      batch.lengths.push_back(
          static_cast<int32_t>(sequences_[pieces[i].slot].total));
      for (size_t t = 0; t < n; ++t) {
        const size_t at = done[i] + t;
        const bool last = at + 1 == pieces[i].tokens.size();
        if (!last && (!all_rows || at < pieces[i].known)) continue;
        rows.push_back(static_cast<int32_t>(batch.size() - n + t));
        target.push_back(
            first_row[i] +
            (all_rows ? static_cast<int64_t>(at - pieces[i].known) : 0));
      }
      done[i] += n;
    }
    if (batch.size() == 0) break;
    if (!first && cancelled && cancelled()) return Tensor();
    const bool every = static_cast<int64_t>(rows.size()) == batch.size();
    // A piece without wanted rows still runs, for its state.
    if (rows.empty()) rows.push_back(0);
    const Tensor out =
        RunBatch(&batch, every ? std::span<const int32_t>() : rows);
    for (size_t r = 0; r < target.size(); ++r) {
      std::copy_n(out.data<float>() + r * vocab, vocab,
                  logits.mutable_data<float>() + target[r] * vocab);
    }
    for (int64_t n = 0; n < batch.segments(); ++n) {
      const int slot = batch.slots[n];
      pool_.set_length(slot, pool_.length(slot) + batch.length(n));
      if (model_.state_ends().empty()) continue;
      std::vector<int32_t>& tokens = sequences_[slot].tokens;
      tokens.insert(tokens.end(), batch.tokens.begin() + batch.begin(n),
                    batch.tokens.begin() + batch.begin(n + 1));
    }
  }
  return logits;
}

}  // namespace intarsia
