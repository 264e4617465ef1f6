#include "intarsia/eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "intarsia/core/counted.h"
#include "intarsia/engine/model_runner.h"
#include "intarsia/engine/sampler.h"
#include "intarsia/eval/recorded_logits.h"

namespace intarsia {
namespace {

Estimate EstimateOf(std::span<const double> values) {
  const double n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double x : values) sum += x;
  const double mean = sum / n;
  for (const double x : values) squares += (x - mean) * (x - mean);
  return {mean, n > 1 ? std::sqrt(squares / (n - 1) / n) : 0.0};
}

double Quantile(std::vector<double> values, double q) {
  const auto at =
      values.begin() + static_cast<std::ptrdiff_t>(
                           q * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

void LogSoftmax(std::span<const float> logits, std::vector<double>* out) {
  const double top = *std::ranges::max_element(logits);
  double total = 0;
  for (const float x : logits) total += std::exp(x - top);
  const double shift = top + std::log(total);
  out->resize(logits.size());
  std::ranges::transform(logits, out->begin(),
                         [&](float x) { return x - shift; });
}

class Measurement {
 public:
  Measurement(const Model& model, std::span<const int32_t> tokens,
              const PerplexityOptions& options)
      : options_(options),
        rows_(options.context - 1 - options.context / 2),
        vocab_(model.config().vocab_size),
        tokens_(tokens.begin(), tokens.end()),
        runner_(model, {.threads = options.threads,
                        .sequences = 1,
                        .context = options.context,
                        .token_dtype = options.token_dtype,
                        .dtype = options.dtype,
                        .report = options.report,
                        .device = options.device}) {}

  Status Begin() {
    if (options_.context < 4) {
      return InvalidArgument("[perplexity] the context must be 4 or more");
    }
    const int64_t limit = runner_.model().config().position_limit();
    if (limit > 0 && options_.context > limit) {
      return InvalidArgument("[perplexity] --ctx " +
                             std::to_string(options_.context) +
                             " is past the model's " + std::to_string(limit) +
                             " learned positions; give --ctx " +
                             std::to_string(limit) + " or less");
    }
    pieces_ = static_cast<int64_t>(tokens_.size()) / options_.context;
    if (options_.pieces > 0) pieces_ = std::min(pieces_, options_.pieces);
    if (pieces_ == 0) {
      return InvalidArgument(
          "[perplexity] the text has " +
          Counted(static_cast<int64_t>(tokens_.size()), "token") +
          ", fewer than the context of " + std::to_string(options_.context) +
          "; give more text or less --ctx");
    }
    tokens_.resize(static_cast<size_t>(pieces_ * options_.context));
    for (int64_t p = 0; p < pieces_ && options_.bos_id >= 0; ++p) {
      tokens_[p * options_.context] = options_.bos_id;
    }
    if (!options_.reference.empty()) {
      ASSIGN_OR_RETURN(reference_, RecordedLogits::Open(options_.reference));
      RETURN_IF_ERROR(CheckReference());
    }
    if (!options_.record.empty()) {
      recorder_.emplace(options_.record,
                        RecordedShape{.context = options_.context,
                                      .pieces = pieces_,
                                      .rows = rows_,
                                      .vocab = vocab_});
      return recorder_->Begin(tokens_);
    }
    return Status::Ok();
  }

  int64_t pieces() const { return pieces_; }

  Status Piece(int64_t piece) {
    const std::span<const int32_t> tokens =
        std::span(tokens_).subspan(piece * options_.context, options_.context);
    // The last token is scored and not read.
    const int64_t first = options_.context / 2;
    const int slot = runner_.Open();
    Status status = runner_.Run({{slot, tokens.first(first)}}).status();
    // As the runner cuts them, so that no more logits are held than one of its
    // batches has.
    const int64_t chunk = runner_.options().prefill_chunk;
    for (int64_t begin = first; status.ok() && begin < first + rows_;) {
      const int64_t end = std::min(first + rows_, (begin / chunk + 1) * chunk);
      status = ScoreRows(slot, tokens, begin, end, piece * rows_ - first);
      begin = end;
    }
    runner_.Close(slot);
    return status;
  }

  Status Finish() { return recorder_ ? recorder_->Commit() : Status::Ok(); }

  PerplexityReport Report() const {
    PerplexityReport report;
    report.tokens = static_cast<int64_t>(nll_.size());
    report.pieces = report.tokens / rows_;
    report.nll = EstimateOf(nll_);
    report.perplexity = std::exp(report.nll.mean);
    report.perplexity_error = report.perplexity * report.nll.error;
    if (!reference_) return report;
    report.compared = true;
    report.log_ratio = EstimateOf(log_ratio_);
    report.reference_perplexity =
        std::exp(report.nll.mean - report.log_ratio.mean);
    report.kl = EstimateOf(kl_);
    report.kl_median = Quantile(kl_, 0.5);
    report.kl_p99 = Quantile(kl_, 0.99);
    report.kl_max = *std::ranges::max_element(kl_);
    report.top1 = EstimateOf(top1_);
    report.rms_probability_error =
        std::sqrt(EstimateOf(squared_probability_error_).mean);
    return report;
  }

 private:
  Status CheckReference() const {
    const RecordedShape& shape = reference_->shape();
    const auto differs = [&](const std::string& what) {
      return InvalidArgument("[perplexity] " + options_.reference + ": " +
                             what);
    };
    if (shape.vocab != vocab_) {
      return differs("recorded with a vocabulary of " +
                     std::to_string(shape.vocab) + " tokens, the model has " +
                     std::to_string(vocab_));
    }
    if (shape.context != options_.context || shape.rows != rows_) {
      return differs("recorded with --ctx " + std::to_string(shape.context));
    }
    if (shape.pieces < pieces_) {
      return differs("holds " + std::to_string(shape.pieces) +
                     " pieces; give --pieces");
    }
    if (!std::ranges::equal(reference_->tokens().first(tokens_.size()),
                            tokens_)) {
      return differs("recorded from another text or tokenizer");
    }
    return Status::Ok();
  }

  // Reads tokens [begin, end) of a piece and scores what comes after each; the
  // first token of the piece would have row `row0`.
  Status ScoreRows(int slot, std::span<const int32_t> tokens, int64_t begin,
                   int64_t end, int64_t row0) {
    ASSIGN_OR_RETURN(const Tensor logits,
                     runner_.Run({{slot, tokens.subspan(begin, end - begin)}},
                                 /*all_rows=*/true));
    for (int64_t t = begin; t < end; ++t) {
      const std::span<const float> values(
          logits.data<float>() + (t - begin) * vocab_,
          static_cast<size_t>(vocab_));
      if (!AllFinite(values)) {
        return DataLoss("[perplexity] the model's logits after token " +
                        std::to_string(t) + " of a piece are not finite");
      }
      LogSoftmax(values, &ours_);
      RETURN_IF_ERROR(Score(row0 + t, tokens[t + 1]));
    }
    return Status::Ok();
  }

  Status Score(int64_t row, int32_t token) {
    nll_.push_back(-ours_[token]);
    if (recorder_) RETURN_IF_ERROR(recorder_->Add(ours_));
    if (!reference_) return Status::Ok();
    reference_->Row(row, &theirs_);
    double kl = 0;
    for (size_t i = 0; i < ours_.size(); ++i) {
      kl += std::exp(theirs_[i]) * (theirs_[i] - ours_[i]);
    }
    kl_.push_back(std::max(kl, 0.0));
    log_ratio_.push_back(theirs_[token] - ours_[token]);
    top1_.push_back(std::ranges::max_element(ours_) - ours_.begin() ==
                            std::ranges::max_element(theirs_) - theirs_.begin()
                        ? 1.0
                        : 0.0);
    const double d = std::exp(ours_[token]) - std::exp(theirs_[token]);
    squared_probability_error_.push_back(d * d);
    return Status::Ok();
  }

  const PerplexityOptions& options_;
  int64_t rows_, vocab_, pieces_ = 0;  // rows: scored tokens a piece
  std::vector<int32_t> tokens_;
  ModelRunner runner_;
  std::optional<LogitsRecorder> recorder_;
  std::optional<RecordedLogits> reference_;
  std::vector<double> ours_, theirs_;  // log-probabilities of one row
  std::vector<double> nll_, log_ratio_, kl_, top1_, squared_probability_error_;
};

}  // namespace

Result<PerplexityReport> MeasurePerplexity(
    const Model& model, std::span<const int32_t> tokens,
    const PerplexityOptions& options,
    const std::function<void(const PerplexityReport&, int64_t pieces)>& done) {
  Measurement measurement(model, tokens, options);
  RETURN_IF_ERROR(measurement.Begin());
  for (int64_t piece = 0; piece < measurement.pieces(); ++piece) {
    RETURN_IF_ERROR(measurement.Piece(piece));
    done(measurement.Report(), measurement.pieces());
  }
  RETURN_IF_ERROR(measurement.Finish());
  return measurement.Report();
}

}  // namespace intarsia
