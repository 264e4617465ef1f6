// ModelRunner::Step and Run.
#include <algorithm>
#include <set>

#include "intarsia/engine/model_runner.h"
#include "intarsia/ops/rows/rows.h"

namespace intarsia {

Status ModelRunner::CheckPlan(const StepPlan& plan) const {
  std::set<int> slots;
  for (const StepPiece& piece : plan) {
    CHECK(slots.insert(piece.slot).second)
        << "slot " << piece.slot << " twice in a step";
    CHECK(!piece.tokens.empty());
    CHECK_EQ(piece.want == StepPiece::Want::kTokens, !piece.samplers.empty());
    RETURN_IF_ERROR(
        Check(piece.tokens,
              length(piece.slot) + static_cast<int64_t>(piece.tokens.size())));
  }
  return Status::Ok();
}

// All of it or nothing.
Status ModelRunner::ReserveAll(const StepPlan& plan) {
  for (size_t i = 0; i < plan.size(); ++i) {
    Kept& kept = kept_[plan[i].slot];
    kept.before_step = std::max(kept.reserved, length(plan[i].slot));
    const int64_t end =
        length(plan[i].slot) + static_cast<int64_t>(plan[i].tokens.size());
    if (Reserve(plan[i].slot, end)) continue;
    for (size_t k = 0; k < i; ++k) {
      Kept& other = kept_[plan[k].slot];
      other.reserved = other.before_step;
      CHECK(pool_.Reserve(plan[k].slot, other.reserved));
    }
    return Unavailable("[engine] the pool of state has no room for " +
                       std::to_string(end) + " tokens");
  }
  return Status::Ok();
}

void ModelRunner::Append(std::span<const int32_t> tokens, int slot,
                         Batch* batch) const {
  batch->Add(tokens, static_cast<int32_t>(length(slot)), slot);
  batch->lengths.push_back(static_cast<int32_t>(kept_[slot].total));
}

void ModelRunner::Advance(const Batch& batch) {
  for (int64_t n = 0; n < batch.segments(); ++n) {
    const int slot = batch.slots[n];
    pool_.set_length(slot, pool_.length(slot) + batch.length(n));
    if (model_.state_ends().empty()) continue;
    std::vector<int32_t>& tokens = kept_[slot].tokens;
    tokens.insert(tokens.end(), batch.tokens.begin() + batch.begin(n),
                  batch.tokens.begin() + batch.begin(n + 1));
  }
}

// Where the piece takes its sequence past an end of its state: forgets it, runs
// the tokens before the last multiple of prefill_chunk again and returns those
// after it, which go before the piece's. Else there are none.
std::vector<int32_t> ModelRunner::RunAgain(const StepPiece& piece) {
  Kept& kept = kept_[piece.slot];
  const int64_t before = length(piece.slot);
  const int64_t end = before + static_cast<int64_t>(piece.tokens.size());
  const int64_t total = std::max({kept.total, piece.total, end});
  const bool ended =
      before > 0 && std::ranges::any_of(model_.state_ends(), [&](int64_t at) {
        return kept.total <= at && at < total;
      });
  kept.total = total;
  if (!ended) return {};
  CHECK_EQ(static_cast<int64_t>(kept.tokens.size()), before);
  const std::vector<int32_t> tokens = std::exchange(kept.tokens, {});
  pool_.Release(piece.slot);
  CHECK_EQ(pool_.Acquire(), piece.slot);
  // It held as many pages before; a kept prefix may hold some of them now.
  while (!pool_.Reserve(piece.slot, std::max(kept.reserved, end))) {
    CHECK(Forget());
  }
  const int64_t chunk = options_.prefill_chunk;
  int64_t done = 0;
  for (; done + chunk <= before; done += chunk) {
    Batch batch;
    Append(std::span<const int32_t>(tokens).subspan(done, chunk), piece.slot,
           &batch);
    const int32_t row = 0;  // nobody wants it
    RunBatch(&batch, {&row, 1});
    Advance(batch);
  }
  return {tokens.begin() + done, tokens.end()};
}

Result<StepResult> ModelRunner::Step(const StepPlan& plan) {
  using Want = StepPiece::Want;
  RETURN_IF_ERROR(CheckPlan(plan));
  RETURN_IF_ERROR(ReserveAll(plan));
  StepResult result;
  if (plan.empty()) return result;
  Batch batch;
  batch.cu_seqlens.push_back(0);
  std::vector<int32_t> rows;  // of the batch, whose logits are wanted
  std::vector<int64_t> sampled(plan.size(), -1);  // by piece, index in `rows`
  bool logits_wanted = false;
  for (size_t i = 0; i < plan.size(); ++i) {
    const StepPiece& piece = plan[i];
    std::vector<int32_t> tokens = RunAgain(piece);
    const auto known = static_cast<int64_t>(tokens.size());
    tokens.insert(tokens.end(), piece.tokens.begin(), piece.tokens.end());
    const int64_t first = batch.size() + known;
    Append(tokens, piece.slot, &batch);
    if (piece.want == Want::kNothing) continue;
    logits_wanted |= piece.want != Want::kTokens;
    if (piece.want == Want::kTokens) {
      sampled[i] = static_cast<int64_t>(rows.size());
    }
    const int64_t last = batch.size() - 1;
    for (int64_t r = piece.want == Want::kAll ? first : last; r <= last; ++r) {
      rows.push_back(static_cast<int32_t>(r));
    }
  }
  const bool every = static_cast<int64_t>(rows.size()) == batch.size();
  const bool none = rows.empty();
  // A batch without wanted rows still runs, for its state.
  if (none) rows.push_back(0);
  const Tensor logits =
      RunBatch(&batch, every ? std::span<const int32_t>() : rows);
  Advance(batch);
  if (none) return result;
  if (logits_wanted) result.logits = WithoutSampled(sampled, logits);
  const bool greedy = std::ranges::all_of(plan, [](const StepPiece& piece) {
    return std::ranges::all_of(piece.samplers,
                               [](const Sampler* s) { return s->greedy(); });
  });
  result.tokens =
      greedy && logits.device().is_cuda()
          ? SampleThere(plan, sampled, logits)
          : Sample(plan, sampled, logits_wanted ? logits : logits.To(Cpu()));
  return result;
}

// The rows that were asked for as logits.
Tensor ModelRunner::WithoutSampled(const std::vector<int64_t>& sampled,
                                   const Tensor& logits) {
  std::vector<int64_t> out;
  for (const int64_t row : sampled) {
    if (row >= 0) out.push_back(row);
  }
  if (out.empty()) return logits;
  std::vector<int32_t> keep;
  for (int64_t r = 0; r < logits.dim(0); ++r) {
    if (!std::ranges::binary_search(out, r)) {
      keep.push_back(static_cast<int32_t>(r));
    }
  }
  Context ctx;
  ctx.pool = &threads_;
  ctx.device = options_.device;
  return GatherRows(ctx, logits, keep);
}

// A row for each piece that samples, on all threads: the draws are independent.
std::vector<StepToken> ModelRunner::Sample(const StepPlan& plan,
                                           const std::vector<int64_t>& sampled,
                                           const Tensor& logits) {
  struct Job {
    const StepPiece* piece;
    Sampler* sampler;
    Tensor row;  // on the host
  };
  std::vector<Job> jobs;
  for (size_t i = 0; i < plan.size(); ++i) {
    if (sampled[i] < 0) continue;
    const Tensor row = logits.Slice(0, sampled[i], sampled[i] + 1).To(Cpu());
    for (Sampler* sampler : plan[i].samplers) {
      jobs.push_back({&plan[i], sampler, row});
    }
  }
  std::vector<StepToken> tokens(jobs.size());
  threads_.For(
      static_cast<int64_t>(jobs.size()), 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const Job& job = jobs[i];
          const auto token = job.sampler->Sample(
              {job.row.data<float>(), static_cast<size_t>(job.row.numel())},
              job.piece->history);
          if (token.ok()) {
            tokens[i].id = *token;
          } else {
            tokens[i].error = token.status();
          }
        }
      });
  return tokens;
}

std::vector<StepToken> ModelRunner::SampleThere(
    const StepPlan& plan, const std::vector<int64_t>& sampled,
    const Tensor& logits) {
  std::vector<StepToken> tokens;
  std::vector<int32_t> best;
  for (size_t i = 0; i < plan.size(); ++i) {
    if (sampled[i] < 0) continue;
    if (best.empty()) {
      Context ctx;
      ctx.device = options_.device;
      best = LargestOfRows(ctx, logits);
    }
    StepToken token{.id = best[sampled[i]], .error = Status::Ok()};
    if (token.id < 0) {
      token.error = DataLoss("[sampler] the model's logits are not finite");
    }
    tokens.insert(tokens.end(), plan[i].samplers.size(), token);
  }
  return tokens;
}

Result<std::vector<StepToken>> ModelRunner::Tokens(const StepPlan& plan) {
  ASSIGN_OR_RETURN(StepResult result, Step(plan));
  return std::move(result.tokens);
}

Result<Tensor> ModelRunner::Run(const std::vector<Segment>& segments,
                                bool all_rows) {
  using Want = StepPiece::Want;
  StepPlan whole;
  int64_t rows = 0;
  for (const Segment& segment : segments) {
    StepPiece piece{.slot = segment.slot, .tokens = segment.tokens};
    const auto n = static_cast<int64_t>(segment.tokens.size());
    piece.total = std::max(segment.total, length(segment.slot) + n);
    piece.want = all_rows ? Want::kAll : Want::kLast;
    whole.push_back(std::move(piece));
    rows += all_rows ? n : 1;
  }
  RETURN_IF_ERROR(CheckPlan(whole));
  RETURN_IF_ERROR(ReserveAll(whole));
  const int64_t vocab = model_.config().vocab_size;
  Tensor logits = Tensor::Empty({rows, vocab});
  std::vector<size_t> done(segments.size(), 0);
  for (;;) {
    // A piece of each unfinished segment, to the next absolute multiple.
    StepPlan plan;
    std::vector<int64_t> target;  // where the rows go
    int64_t first = 0;            // row of the segment
    for (size_t i = 0; i < segments.size(); ++i) {
      const auto tokens = segments[i].tokens.subspan(done[i]);
      const auto size = static_cast<int64_t>(segments[i].tokens.size());
      if (!tokens.empty()) {
        const size_t n = std::min<size_t>(
            tokens.size(), options_.prefill_chunk - length(segments[i].slot) %
                                                        options_.prefill_chunk);
        StepPiece piece = whole[i];
        piece.tokens = tokens.first(n);
        if (!all_rows && n < tokens.size()) piece.want = Want::kNothing;
        if (!all_rows && n == tokens.size()) target.push_back(first);
        for (size_t t = 0; all_rows && t < n; ++t) {
          target.push_back(first + static_cast<int64_t>(done[i] + t));
        }
        plan.push_back(std::move(piece));
        done[i] += n;
      }
      first += all_rows ? size : 1;
    }
    if (plan.empty()) return logits;
    ASSIGN_OR_RETURN(const StepResult result, Step(plan));
    if (target.empty()) continue;
    const Tensor out = result.logits.To(Cpu());
    for (size_t r = 0; r < target.size(); ++r) {
      std::copy_n(out.data<float>() + static_cast<int64_t>(r) * vocab, vocab,
                  logits.mutable_data<float>() + target[r] * vocab);
    }
  }
}

}  // namespace intarsia
