// Slots, memory and batches; model_step.cc has the steps.
#include "intarsia/engine/model_runner.h"

#include <algorithm>
#include <bit>

#include "intarsia/distributed/communicator.h"
#include "intarsia/model/state_specs.h"

namespace intarsia {

namespace {

StatePool::Options PoolOptions(const ModelRunner::Options& options,
                               const Model& model) {
  StatePool::Options pool;
  pool.slots = options.sequences;
  // A sequence's last page is part empty.
  pool.tokens = options.sequences * ((options.context + 63) / 64 * 64);
  pool.context = options.context;
  pool.step = std::max(options.prefill_chunk, Runner::kGrid);
  if (!model.state_ends().empty()) pool.step *= 2;  // see RunAgain
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
      pool_(StateSpecs(model), PoolOptions(options_, model)),
      kept_(options_.sequences) {
  if (options_.prefix_bytes == 0) return;
  prefixes_ = std::make_unique<PrefixIndex>(PrefixIndex::Options{
      .bytes = options_.prefix_bytes > 0
                   ? options_.prefix_bytes
                   : pool_.page_bytes() + 4 * pool_.bytes_per_sequence(),
      .truncates = pool_.truncates(),
      .grid = kGrid});
}

ModelRunner::~ModelRunner() = default;

int ModelRunner::Open() {
  const int slot = pool_.Acquire();
  if (slot >= 0) kept_[slot] = Kept();
  return slot;
}

int ModelRunner::Fork(int slot) {
  const int copy = pool_.Fork(slot);
  if (copy < 0) return -1;
  kept_[copy] = kept_[slot];
  kept_[copy].reserved = length(slot);
  return copy;
}

bool ModelRunner::Reserve(int slot, int64_t tokens) {
  const int64_t wanted = std::max({tokens, length(slot), kept_[slot].reserved});
  if (!pool_.Reserve(slot, wanted)) return false;
  kept_[slot].reserved = wanted;
  return true;
}

Status ModelRunner::Check(std::span<const int32_t> tokens, int64_t end) const {
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
  for (const int32_t token : tokens) {
    if (token < 0 || token >= model_.config().vocab_size) {
      return InvalidArgument("[engine] token " + std::to_string(token) +
                             " is outside the vocabulary of " +
                             std::to_string(model_.config().vocab_size));
    }
  }
  return Status::Ok();
}

int64_t ModelRunner::EraOf(int64_t total) const {
  return std::ranges::count_if(model_.state_ends(),
                               [&](int64_t at) { return at < total; });
}

// Rotations may follow the length then (ops/rope), so that the entries of other
// lengths have other bits.
bool ModelRunner::PastTrained(int64_t total) const {
  const int64_t trained = model_.config().max_positions;
  return trained > 0 && total > trained;
}

PrefixMatch ModelRunner::Resume(int slot, const PrefixKey& key, int64_t total,
                                Reuse reuse) {
  CHECK_EQ(length(slot), 0);
  if (prefixes_ == nullptr) return {};
  kept_[slot].total = total;
  if (reuse == Reuse::kExact && PastTrained(total)) {
    return {.why = PrefixMatch::Why::kLength};
  }
  PrefixKey wanted = key;
  wanted.era = EraOf(total);
  const PrefixIndex::Match match = prefixes_->Find(wanted, reuse);
  if (match.snapshot == nullptr) return match;
  pool_.Resume(slot, *match.snapshot);
  const auto length = pool_.Truncate(slot, match.tokens);
  CHECK(length.ok() && *length == match.tokens);
  kept_[slot].reserved = match.tokens;
  if (!model_.state_ends().empty()) {
    kept_[slot].tokens.assign(key.tokens.begin(),
                              key.tokens.begin() + match.tokens);
  }
  return match;
}

int64_t ModelRunner::Peek(const PrefixKey& key, int64_t total,
                          Reuse reuse) const {
  if (prefixes_ == nullptr || (reuse == Reuse::kExact && PastTrained(total))) {
    return 0;
  }
  PrefixKey wanted = key;
  wanted.era = EraOf(total);
  return prefixes_->Peek(wanted, reuse);
}

void ModelRunner::Remember(int slot, const PrefixKey& key) {
  if (prefixes_ == nullptr) return;
  CHECK_EQ(length(slot), static_cast<int64_t>(key.tokens.size()));
  PrefixKey known = key;
  known.era = EraOf(kept_[slot].total);
  if (PastTrained(kept_[slot].total)) known.exact = 0;
  if (prefixes_->Knows(known)) return;
  auto snapshot = pool_.Snapshot(slot);
  if (snapshot != nullptr) prefixes_->Add(known, std::move(snapshot));
}

int64_t ModelRunner::SwapOut(int slot) {
  Swapped out;
  out.length = length(slot);
  out.bytes = pool_.bytes_per_sequence() + out.length * pool_.bytes_per_token();
  if (swapped_bytes_ + out.bytes > options_.swap_bytes) return -1;
  out.state = pool_.Save(slot);
  out.kept = std::move(kept_[slot]);
  swapped_bytes_ += out.bytes;
  Close(slot);
  swapped_.emplace(next_ticket_, std::move(out));
  return next_ticket_++;
}

int ModelRunner::SwapIn(int64_t ticket) {
  Swapped& in = swapped_.at(ticket);
  const int slot = Open();
  if (slot < 0) return -1;
  if (!pool_.Restore(slot, in.state, in.length).ok()) {
    Close(slot);
    return -1;
  }
  kept_[slot] = std::move(in.kept);
  kept_[slot].reserved = in.length;
  Drop(ticket);
  return slot;
}

void ModelRunner::Drop(int64_t ticket) {
  swapped_bytes_ -= swapped_.at(ticket).bytes;
  swapped_.erase(ticket);
}

int64_t ModelRunner::Bucket(int64_t sequences, int64_t most) {
  return std::min(
      static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(sequences))),
      most);
}

void ModelRunner::Pad(int64_t segments, Batch* batch) {
  constexpr int32_t kToken = 0;
  for (int64_t i = 0; i < segments; ++i) {
    batch->Add({&kToken, 1});
    batch->slots.back() = -1;
    if (!batch->lengths.empty()) batch->lengths.push_back(1);
  }
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

Tensor ModelRunner::RunDecodeGraph(Batch batch) {
  const int64_t sequences = batch.segments();
  Pad(Bucket(sequences, options_.sequences) - sequences, &batch);
  std::unique_ptr<Graph>& graph =
      graphs_[{batch.segments(), batch.kv_capacity()}];
  const bool first = graph == nullptr;
  if (first) graph = std::make_unique<Graph>();
  Batch::OnDevice arrays = std::move(graph->batch.device);
  graph->batch = std::move(batch);
  graph->batch.device = std::move(arrays);
  graph->batch.Upload(options_.device);
  // Rewrites the page tables in place; the views stay valid.
  ModelState state{pool_.View(graph->batch)};
  if (first) {
    // The first step runs plainly: kernels load and buffers grow outside of the
    // recording. The next one records.
    graph->logits = Forward(graph->batch, &state, {});
  } else {
    if (graph->graph == nullptr) {
      graph->state = std::move(state);
      graph->graph = Backend(options_.device).Capture([&] {
        graph->logits = Forward(graph->batch, &graph->state, {});
      });
      CHECK(graph->graph != nullptr);
    }
    graph->graph->Launch();
    ++graph_launches_;
  }
  return graph->logits.Slice(0, 0, sequences);
}

Tensor ModelRunner::RunBatch(Batch* batch, std::span<const int32_t> rows) {
  if (options_.device.is_cuda()) {
    const bool decode = batch->size() == batch->segments() && rows.empty() &&
                        !model_.reads_back();
    if (decode) return RunDecodeGraph(*batch);
    batch->Upload(options_.device);
  }
  ModelState state{pool_.View(*batch)};
  return Forward(*batch, &state, rows);
}

}  // namespace intarsia
