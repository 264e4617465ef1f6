#include "intarsia/eval/verify.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "intarsia/autograd/tape.h"
#include "intarsia/engine/engine.h"
#include "intarsia/ops/cross_entropy/cross_entropy.h"

namespace intarsia {
namespace {

using Sequences = std::vector<std::vector<int32_t>>;

Result<Tensor> ReadTensor(const Checkpoint& file, const std::string& name,
                          int rank, DType dtype = DType::kF32) {
  const StoredTensor* stored = file.Find(name);
  if (stored == nullptr) {
    return NotFound("[verify] " + file.path() + " has no tensor " + name);
  }
  if (stored->shape.rank() != rank || stored->encoding != Name(dtype)) {
    return InvalidArgument("[verify] " + file.path() + ": " + name + " is " +
                           stored->encoding + " " + stored->shape.ToString() +
                           ", wanted are " + std::string(Name(dtype)) +
                           " and " + std::to_string(rank) + " dimensions");
  }
  ASSIGN_OR_RETURN(Tensor values, stored->AsTensor());
  return values.Clone();
}

std::span<const float> Values(const Tensor& t) {
  return {t.data<float>(), static_cast<size_t>(t.numel())};
}

// The larger error; not-a-number is larger than any and stays.
double Worse(double a, double b) { return std::isnan(a) || a >= b ? a : b; }

double MaxDifference(const float* a, const float* b, int64_t n) {
  double most = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    most = Worse(most, std::abs(double{a[i]} - b[i]));
  }
  return most;
}

// KL(softmax(p) ‖ softmax(q)) of two rows of n logits.
double KlDivergence(const float* p, const float* q, int64_t n) {
  const double top_p = *std::max_element(p, p + n);
  const double top_q = *std::max_element(q, q + n);
  double sum_p = 0.0, sum_q = 0.0, weighted = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    const double e = std::exp(p[i] - top_p);
    sum_p += e;
    sum_q += std::exp(q[i] - top_q);
    weighted += e * ((p[i] - top_p) - (q[i] - top_q));
  }
  return weighted / sum_p + std::log(sum_q) - std::log(sum_p);
}

double Deviation(const Tensor& x) {
  double sum = 0.0, squares = 0.0;
  const float* p = x.data<float>();
  for (int64_t i = 0; i < x.numel(); ++i) {
    sum += p[i];
    squares += double{p[i]} * p[i];
  }
  const double n = static_cast<double>(x.numel());
  return std::sqrt(std::max(0.0, squares / n - (sum / n) * (sum / n)));
}

// Keeps the hidden states of the first rows.
class HiddenStates : public Observer {
 public:
  void Observe(const std::string& name, const Tensor& value) override {
    states[name] = value.To(Cpu()).To(DType::kF32);
  }
  std::map<std::string, Tensor> states;
};

class Verifier {
 public:
  Verifier(LoadedModel& loaded, const VerifyOptions& options)
      : model_(*loaded.model),
        loaded_(loaded),
        options_(options),
        threads_(options.threads) {}

  Result<VerifyReport> Run() {
    RETURN_IF_ERROR(ReadGolden());
    report_.logit_std = Deviation(logits_);
    RETURN_IF_ERROR(CompareStateless());
    RETURN_IF_ERROR(CompareStateful());
    if (greedy_.defined()) RETURN_IF_ERROR(CompareGreedy());
    if (!options_.gradients.empty()) RETURN_IF_ERROR(CompareGradients());
    for (const VerifyReport::Run& run : report_.runs) {
      report_.max_abs_error = Worse(report_.max_abs_error, run.max_abs_error);
      report_.mean_kl = Worse(report_.mean_kl, run.mean_kl);
      report_.top1_agreement =
          std::min(report_.top1_agreement, run.top1_agreement);
    }
    report_.passed =
        report_.max_abs_error <= options_.tolerance * report_.logit_std &&
        report_.greedy_match &&
        (!report_.has_gradients ||
         (report_.loss_error <= 1e-4 && report_.max_rel_grad_error <= 1e-3));
    return report_;
  }

 private:
  Status ReadGolden() {
    ASSIGN_OR_RETURN(auto file,
                     Checkpoint::OpenRecord(options_.golden, "verify",
                                            "a file of recorded logits"));
    ASSIGN_OR_RETURN(const Tensor ids,
                     ReadTensor(*file, "input_ids", 2, DType::kI32));
    ASSIGN_OR_RETURN(logits_, ReadTensor(*file, "logits", 3));
    const int64_t vocab = model_.config().vocab_size;
    if (!(logits_.shape() == Shape({ids.dim(0), ids.dim(1), vocab}))) {
      return InvalidArgument("[verify] " + options_.golden + ": logits " +
                             logits_.shape().ToString() +
                             " do not belong to input_ids " +
                             ids.shape().ToString() + " and a vocabulary of " +
                             std::to_string(vocab));
    }
    if (logits_.numel() == 0) {
      return InvalidArgument("[verify] " + options_.golden + ": input_ids " +
                             ids.shape().ToString() + " hold no tokens");
    }
    if (!AllFinite(Values(logits_))) {
      return DataLoss("[verify] " + options_.golden +
                      ": the recorded logits are not finite");
    }
    const int64_t limit = model_.config().position_limit();
    if (limit > 0 && ids.dim(1) > limit) {
      return InvalidArgument("[verify] " + options_.golden + ": sequences of " +
                             std::to_string(ids.dim(1)) +
                             " tokens, the model has learned " +
                             "positions for " + std::to_string(limit));
    }
    for (int64_t n = 0; n < ids.dim(0); ++n) {
      sequences_.push_back(ids.Select(0, n).ToVector<int32_t>());
      for (int32_t id : sequences_.back()) {
        if (id < 0 || id >= vocab) {
          return InvalidArgument("[verify] " + options_.golden +
                                 ": an input id is outside the vocabulary");
        }
      }
    }
    if (file->Find("hidden_states") != nullptr) {
      ASSIGN_OR_RETURN(hidden_, ReadTensor(*file, "hidden_states", 3));
      if (hidden_.dim(1) > ids.numel() ||
          hidden_.dim(2) != model_.config().dim) {
        return InvalidArgument("[verify] " + options_.golden +
                               ": hidden_states " + hidden_.shape().ToString() +
                               " do not belong to input_ids " +
                               ids.shape().ToString() + " and a width of " +
                               std::to_string(model_.config().dim));
      }
    }
    if (file->Find("greedy_tokens") != nullptr) {
      ASSIGN_OR_RETURN(greedy_,
                       ReadTensor(*file, "greedy_tokens", 2, DType::kI32));
      ASSIGN_OR_RETURN(margins_, ReadTensor(*file, "greedy_margins", 1));
      for (const int32_t id : greedy_.ToVector<int32_t>()) {
        if (id < 0 || id >= vocab) {
          return InvalidArgument("[verify] " + options_.golden +
                                 ": a greedy token is outside the vocabulary");
        }
      }
      if (greedy_.numel() <= margins_.numel()) {
        return InvalidArgument("[verify] " + options_.golden +
                               ": greedy_tokens holds no prompt");
      }
    }
    return Status::Ok();
  }

  Context MakeContext(const Batch& batch) {
    Context ctx;
    ctx.batch = &batch;
    ctx.pool = &threads_;
    ctx.device = options_.device;
    ctx.form = options_.form;
    ctx.dtype = options_.dtype;
    ctx.report = options_.report;
    return ctx;
  }

  void Note(const std::string& name, const Tensor& logits) {
    const float* ours = logits.data<float>();
    const float* recorded = logits_.data<float>();
    const int64_t vocab = logits_.dim(2);
    const int64_t rows = logits_.numel() / vocab;
    VerifyReport::Run run;
    run.name = name;
    run.max_abs_error = MaxDifference(ours, recorded, logits_.numel());
    std::vector<double> kl(rows);
    std::vector<uint8_t> same(rows);
    threads_.For(rows, 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const float* a = recorded + r * vocab;
        const float* b = ours + r * vocab;
        kl[r] = KlDivergence(a, b, vocab);
        same[r] = std::max_element(a, a + vocab) - a ==
                  std::max_element(b, b + vocab) - b;
      }
    });
    const double n = static_cast<double>(rows);
    run.mean_kl = std::accumulate(kl.begin(), kl.end(), 0.0) / n;
    run.top1_agreement = std::accumulate(same.begin(), same.end(), 0.0) / n;
    report_.runs.push_back(run);
  }

  // Whole sequences as training runs them: no state kept.
  Status CompareStateless() {
    Batch batch = Batch::Of(sequences_);
    batch.Upload(options_.device);
    Context ctx = MakeContext(batch);
    HiddenStates hidden;
    ctx.observer = &hidden;
    // Without carried state "recurrent" would be the same walk token by token.
    Note("whole", model_.Forward(ctx).To(Cpu()));
    if (!hidden_.defined() || hidden_.dim(0) != model_.blocks() + 1) {
      return Status::Ok();
    }
    const int64_t size = hidden_.dim(1) * hidden_.dim(2);
    auto error = [&](const std::string& name, int64_t i) {
      return MaxDifference(hidden.states.at(name).data<float>(),
                           hidden_.data<float>() + i * size, size);
    };
    // The last recorded state stands before or after the final norm, the others
    // before a block or, as transformers records Mamba-2, after it.
    const int last = model_.blocks();
    const double end =
        std::min(error("final_norm", last), error("blocks.output", last));
    double before = end, after = end;
    for (int i = 0; i < last; ++i) {
      auto input = [](int block) {
        return "blocks." + std::to_string(block) + ".input";
      };
      before = Worse(before, error(input(i), i));
      after =
          Worse(after, error(i + 1 < last ? input(i + 1) : "blocks.output", i));
    }
    report_.max_hidden_error = std::min(before, after);
    return Status::Ok();
  }

  ModelRunner::Options RunnerOptions(int sequences) {
    ModelRunner::Options runner;
    runner.threads = options_.threads;
    runner.sequences = sequences;
    runner.context = static_cast<int64_t>(sequences_[0].size()) + 64;
    runner.prefill_chunk = 1 << 20;
    runner.token_dtype = DType::kF32;
    runner.device = options_.device;
    runner.form = options_.form;
    runner.dtype = options_.dtype;
    runner.report = options_.report;
    return runner;
  }

  // All recorded sequences in pieces of `piece` tokens from carried state,
  // together with others when asked for.
  Status ComparePieces(const std::string& name, size_t piece, int inner) {
    Sequences all = sequences_;
    std::vector<bool> is_recorded(all.size(), true);
    if (options_.batch_split) {
      // Neighbours: unlike lengths, before, between and after.
      const size_t length = sequences_[0].size();
      for (size_t n : {std::min(length, size_t{5}), size_t{1},
                       length > 4 ? length - 3 : size_t{1}}) {
        std::vector<int32_t> other(sequences_[0].rbegin(),
                                   sequences_[0].rbegin() + n);
        all.insert(all.begin() + (n % 2), other);
        is_recorded.insert(is_recorded.begin() + (n % 2), false);
      }
    }
    ModelRunner::Options options = RunnerOptions(static_cast<int>(all.size()));
    options.chunk = inner;
    ModelRunner runner(model_, options);
    const int64_t vocab = model_.config().vocab_size;
    std::vector<int> slots;
    std::vector<std::vector<float>> rows(all.size());
    for (size_t i = 0; i < all.size(); ++i) slots.push_back(runner.Open());
    for (size_t begin = 0;; begin += piece) {
      std::vector<ModelRunner::Segment> segments;
      std::vector<size_t> who;
      for (size_t i = 0; i < all.size(); ++i) {
        if (begin >= all[i].size()) continue;
        const size_t n = std::min(piece, all[i].size() - begin);
        segments.push_back(
            {.slot = slots[i],
             .tokens = std::span<const int32_t>(all[i]).subspan(begin, n),
             .total = static_cast<int64_t>(all[i].size())});
        who.push_back(i);
      }
      if (segments.empty()) break;
      ASSIGN_OR_RETURN(const Tensor out, runner.Run(segments, true));
      const float* p = out.data<float>();
      for (size_t s = 0; s < segments.size(); ++s) {
        const size_t n = segments[s].tokens.size() * vocab;
        rows[who[s]].insert(rows[who[s]].end(), p, p + n);
        p += n;
      }
    }
    std::vector<float> recorded;
    for (size_t i = 0; i < all.size(); ++i) {
      if (is_recorded[i]) {
        recorded.insert(recorded.end(), rows[i].begin(), rows[i].end());
      }
    }
    Note(name, Tensor::From(recorded, logits_.shape()));
    return Status::Ok();
  }

  Status CompareStateful() {
    const std::string suffix = options_.batch_split ? ", ragged batch" : "";
    if (options_.form == Form::kRecurrent) {
      return ComparePieces("one token at a time" + suffix, 1, 0);
    }
    if (options_.chunks.empty()) {
      return ComparePieces("prefill" + suffix, size_t{1} << 20, 0);
    }
    for (int chunk : options_.chunks) {
      RETURN_IF_ERROR(
          ComparePieces("pieces of " + std::to_string(chunk) + suffix,
                        static_cast<size_t>(chunk), chunk));
    }
    return Status::Ok();
  }

  Status CompareGreedy() {
    const std::vector<int32_t> tokens = greedy_.ToVector<int32_t>();
    const std::vector<float> margins = margins_.ToVector<float>();
    const size_t prompt = tokens.size() - margins.size();
    ModelRunner runner(model_, RunnerOptions(1));
    Request request;
    request.prompt.assign(tokens.begin(), tokens.begin() + prompt);
    request.sampling.temperature = 0.0f;
    request.max_tokens = static_cast<int>(margins.size());
    ASSIGN_OR_RETURN(const auto answers, Generate(runner, {request}, nullptr));
    // Below this a difference within the tolerance turns the choice.
    const double close = options_.dtype == DType::kF32
                             ? 1e-3
                             : 2 * options_.tolerance * report_.logit_std;
    for (size_t i = 0; i < margins.size() && margins[i] >= close; ++i) {
      ++report_.greedy_steps;
      if (i >= answers[0].tokens.size() ||
          answers[0].tokens[i] != tokens[prompt + i]) {
        report_.greedy_match = false;
        break;
      }
    }
    return Status::Ok();
  }

  Status CompareGradients() {
    ASSIGN_OR_RETURN(auto file,
                     Checkpoint::OpenRecord(options_.gradients, "verify",
                                            "a file of recorded gradients"));
    ASSIGN_OR_RETURN(const Tensor loss, ReadTensor(*file, "__loss__", 1));
    if (loss.numel() != 1 || sequences_[0].size() < 2) {
      return InvalidArgument(
          "[verify] " + options_.gradients + ": __loss__ " +
          loss.shape().ToString() + " of sequences of " +
          std::to_string(sequences_[0].size()) +
          " tokens; wanted are one number, and two tokens or more");
    }
    model_.SetTrainable(true);
    Batch batch = Batch::Of(sequences_);
    if (options_.device.is_cuda()) batch.Upload(options_.device);
    Tape tape;
    Context ctx = MakeContext(batch);
    ctx.tape = &tape;
    std::vector<int32_t> targets;
    for (const std::vector<int32_t>& sequence : sequences_) {
      targets.insert(targets.end(), sequence.begin() + 1, sequence.end());
      targets.push_back(-1);
    }
    const Tensor ours = CrossEntropy(ctx, model_.Forward(ctx), targets);
    tape.Backward(ctx, ours);
    report_.has_gradients = true;
    report_.loss_error =
        std::abs(double{ours.data<float>()[0]} - loss.data<float>()[0]);
    const auto gradients =
        ToForeign(ChooseLayout(loaded_.layouts, *file), model_,
                  [&](const std::string& path) {
                    return tape.WeightGradient(*model_.Find(path)).To(Cpu());
                  });
    for (const auto& [name, gradient] : gradients) {
      const StoredTensor* stored = file->Find(name);
      if (stored == nullptr) {
        return NotFound("[verify] " + options_.gradients +
                        " has no gradient of " + name);
      }
      ASSIGN_OR_RETURN(const Tensor expected,
                       ReadTensor(*file, name, gradient.rank()));
      if (!(expected.shape() == gradient.shape())) {
        return InvalidArgument("[verify] " + options_.gradients +
                               ": the gradient of " + name + " is " +
                               gradient.shape().ToString() + ", recorded is " +
                               expected.shape().ToString());
      }
      const std::vector<float> a = gradient.ToVector<float>();
      const std::vector<float> b = expected.ToVector<float>();
      double difference = 0.0, norm = 0.0;
      for (size_t i = 0; i < a.size(); ++i) {
        difference += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
        norm += double{b[i]} * b[i];
      }
      const double relative = std::sqrt(difference / std::max(norm, 1e-30));
      if (!std::isnan(report_.max_rel_grad_error) &&
          !(relative <= report_.max_rel_grad_error)) {
        report_.max_rel_grad_error = relative;
        report_.worst_gradient = name;
      }
    }
    return Status::Ok();
  }

  Model& model_;
  LoadedModel& loaded_;
  const VerifyOptions& options_;
  ThreadPool threads_;
  Sequences sequences_;
  Tensor logits_, hidden_, greedy_, margins_;
  VerifyReport report_;
};

}  // namespace

Result<VerifyReport> Verify(LoadedModel& loaded, const VerifyOptions& options) {
  return Verifier(loaded, options).Run();
}

}  // namespace intarsia
