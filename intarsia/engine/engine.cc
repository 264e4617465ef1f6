#include "intarsia/engine/engine.h"

#include <algorithm>
#include <chrono>

namespace intarsia {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

// One request while it runs.
struct Active {
  size_t index = 0;
  int slot = -1;
  bool owned = false;
  std::vector<int32_t> history;
  int32_t last = 0;
  Sampler sampler;
};

class StaticBatch {
 public:
  StaticBatch(ModelRunner& runner, const std::vector<Request>& requests,
              const TokenCallback& callback, GenerateStats* stats,
              const std::function<bool()>& cancelled)
      : runner_(runner),
        requests_(requests),
        callback_(callback),
        stats_(stats),
        cancelled_(cancelled),
        results_(requests.size()) {}

  ~StaticBatch() {
    for (const Active& active : active_) Close(active);
  }

  Result<std::vector<Generation>> Run() {
    for (size_t i = 0; i < requests_.size(); ++i) RETURN_IF_ERROR(Admit(i));
    if (active_.empty()) return results_;
    RETURN_IF_ERROR(Prefill());
    const auto decode = Clock::now();
    while (!active_.empty()) {
      std::vector<ModelRunner::Segment> segments;
      for (const Active& active : active_) {
        segments.push_back({active.slot, {&active.last, 1}});
      }
      auto step = runner_.Run(segments);
      if (!step.ok()) {
        // The context is full: what was said so far stands.
        for (const Active& active : active_) {
          results_[active.index].error = step.status();
          Close(active);
        }
        active_.clear();
        break;
      }
      stats_->decode_tokens += static_cast<int64_t>(active_.size());
      TakeTokens(*step);
    }
    stats_->decode_seconds += Seconds(decode);
    return results_;
  }

 private:
  Status Admit(size_t index) {
    const Request& request = requests_[index];
    if (request.prompt.empty()) {
      return InvalidArgument("[engine] the prompt has no tokens");
    }
    RETURN_IF_ERROR(Validate(request.sampling));
    if (request.max_tokens <= 0) return Status::Ok();
    Active active{.index = index,
                  .slot = request.slot,
                  .owned = request.slot < 0,
                  .history = request.before,
                  .last = 0,
                  .sampler = Sampler(request.sampling)};
    if (active.owned) active.slot = runner_.Open();
    if (active.slot < 0) {
      return Unavailable("[engine] all " +
                         std::to_string(runner_.options().sequences) +
                         " sequences are taken");
    }
    active.history.insert(active.history.end(), request.prompt.begin(),
                          request.prompt.end());
    active_.push_back(std::move(active));
    return Status::Ok();
  }

  // Runs the prompts and takes the first tokens.
  Status Prefill() {
    const auto begin = Clock::now();
    std::vector<ModelRunner::Segment> segments;
    int64_t before = 0;
    for (const Active& active : active_) {
      segments.push_back({active.slot, requests_[active.index].prompt});
      before += runner_.length(active.slot);
    }
    ASSIGN_OR_RETURN(const Tensor logits,
                     runner_.Run(segments, /*all_rows=*/false, cancelled_));
    for (const Active& active : active_) {
      stats_->prompt_tokens += runner_.length(active.slot);
    }
    stats_->prompt_tokens -= before;
    stats_->prefill_seconds += Seconds(begin);
    if (logits.defined()) {
      TakeTokens(logits);
      return Status::Ok();
    }
    for (const Active& active : active_) {
      results_[active.index].finish = Generation::Finish::kCancelled;
      Close(active);
    }
    active_.clear();
    return Status::Ok();
  }

  // Samples a token for each active request from its row and drops those that
  // end.
  void TakeTokens(const Tensor& logits) {
    const int64_t vocab = logits.dim(1);
    std::vector<Active> still;
    for (size_t row = 0; row < active_.size(); ++row) {
      Active& active = active_[row];
      const std::span<const float> values(logits.data<float>() + row * vocab,
                                          static_cast<size_t>(vocab));
      if (Advance(active, values)) {
        still.push_back(std::move(active));
      } else {
        Close(active);
      }
    }
    active_ = std::move(still);
  }

  bool Advance(Active& active, std::span<const float> logits) {
    using Finish = Generation::Finish;
    const Request& request = requests_[active.index];
    Generation& result = results_[active.index];
    auto token = active.sampler.Sample(logits, active.history);
    if (!token.ok()) {
      result.finish = Finish::kError;
      result.error = token.status();
      return false;
    }
    if (std::ranges::count(request.stop_ids, *token) > 0) {
      result.finish = Finish::kStop;
      return false;
    }
    result.tokens.push_back(*token);
    active.history.push_back(*token);
    active.last = *token;
    ++stats_->generated_tokens;
    if (callback_ && !callback_(active.index, *token)) {
      result.finish = Finish::kCancelled;
      return false;
    }
    result.finish = Finish::kLength;
    return static_cast<int>(result.tokens.size()) < request.max_tokens;
  }

  void Close(const Active& active) {
    if (active.owned) runner_.Close(active.slot);
  }

  ModelRunner& runner_;
  const std::vector<Request>& requests_;
  const TokenCallback& callback_;
  GenerateStats* stats_;
  const std::function<bool()>& cancelled_;
  std::vector<Generation> results_;
  std::vector<Active> active_;
};

}  // namespace

Result<std::vector<Generation>> Generate(
    ModelRunner& runner, const std::vector<Request>& requests,
    const TokenCallback& callback, GenerateStats* stats,
    const std::function<bool()>& cancelled) {
  GenerateStats unused;
  return StaticBatch(runner, requests, callback,
                     stats != nullptr ? stats : &unused, cancelled)
      .Run();
}

std::string StopFilter::Push(const std::string& text) {
  if (stopped_) return "";
  held_ += text;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    if (!stop.empty()) first = std::min(first, held_.find(stop));
  }
  if (first != std::string::npos) {
    stopped_ = true;
    return std::exchange(held_, "").substr(0, first);
  }
  // The longest end of the text that begins some stop string stays.
  size_t keep = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size(), held_.size()); n > keep; --n) {
      if (held_.ends_with(stop.substr(0, n))) keep = n;
    }
  }
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, out.size());
  return out;
}

std::string StopFilter::Finish() {
  return stopped_ ? "" : std::exchange(held_, "");
}

}  // namespace intarsia
