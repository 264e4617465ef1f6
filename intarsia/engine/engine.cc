#include "intarsia/engine/engine.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "intarsia/engine/scheduler.h"

namespace intarsia {
namespace {

using Clock = std::chrono::steady_clock;
using Finish = Generation::Finish;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

class Call {
 public:
  Call(ModelRunner& runner, const TokenCallback& callback, GenerateStats* stats)
      : scheduler_(runner, {.step_tokens = runner.options().prefill_chunk}),
        callback_(callback),
        stats_(stats) {}

  // Fails when every request is refused.
  Status Submit(const std::vector<Request>& requests) {
    Status refusal;
    bool any = requests.empty();
    for (const Request& request : requests) {
      const size_t first = results_.size();
      const auto answers = static_cast<size_t>(std::max(request.n, 1));
      results_.resize(first + answers);
      if (request.max_tokens <= 0) {
        any = true;
        continue;
      }
      const Result<int64_t> id = scheduler_.Submit(request);
      if (id.ok()) any = true;
      for (size_t i = 0; i < answers; ++i) {
        if (id.ok()) {
          answer_of_[*id + static_cast<int64_t>(i)] = first + i;
        } else {
          refusal = results_[first + i].error = id.status();
          results_[first + i].finish = Finish::kError;
        }
      }
    }
    return any ? Status::Ok() : refusal;
  }

  std::vector<Generation> Run(const std::function<bool()>& cancelled) {
    for (bool first = true; scheduler_.busy(); first = false) {
      if (!first && cancelled && cancelled()) {
        for (const auto& [id, answer] : answer_of_) Cancel(id);
        break;
      }
      const auto begin = Clock::now();
      std::vector<Scheduler::Event> events;
      const Scheduler::Work work = scheduler_.Step(&events);
      Add(work, Seconds(begin));
      for (const Scheduler::Event& event : events) Take(event);
    }
    return std::move(results_);
  }

 private:
  void Add(const Scheduler::Work& work, double seconds) {
    stats_->prompt_tokens += work.prompt_tokens;
    stats_->decode_tokens += work.decode_tokens;
    stats_->again_tokens += work.again_tokens;
    const int64_t tokens = work.prompt_tokens + work.decode_tokens;
    // A step that only computes again delays answers.
    const double prefill = tokens > 0
                               ? static_cast<double>(work.prompt_tokens) /
                                     static_cast<double>(tokens)
                               : 0.0;
    stats_->prefill_seconds += seconds * prefill;
    stats_->decode_seconds += seconds * (1.0 - prefill);
  }

  void Take(const Scheduler::Event& event) {
    const size_t answer = answer_of_.at(event.id);
    Generation& result = results_[answer];
    if (result.finish == Finish::kCancelled) return;
    if (event.kind == Scheduler::Event::Kind::kStart) {
      result.prefix = event.prefix;
      stats_->reused_tokens += event.prefix.tokens;
      return;
    }
    if (event.kind == Scheduler::Event::Kind::kEnd) {
      result.finish = event.finish;
      result.error = event.error;
      return;
    }
    const double now = Seconds(start_);
    if (result.tokens.empty()) result.first_token_seconds = now;
    result.decode_seconds = now - result.first_token_seconds;
    result.tokens.push_back(event.token);
    ++stats_->generated_tokens;
    if (callback_ && !callback_(answer, event.token)) {
      result.finish = Finish::kCancelled;
      scheduler_.Cancel(event.id);
    }
  }

  void Cancel(int64_t id) {
    if (!scheduler_.Cancel(id)) return;  // it has ended
    results_[answer_of_.at(id)].finish = Finish::kCancelled;
  }

  Scheduler scheduler_;
  const TokenCallback& callback_;
  GenerateStats* stats_;
  std::vector<Generation> results_;
  std::map<int64_t, size_t> answer_of_;  // by the scheduler's id
  Clock::time_point start_ = Clock::now();
};

}  // namespace

Result<std::vector<Generation>> Generate(
    ModelRunner& runner, const std::vector<Request>& requests,
    const TokenCallback& callback, GenerateStats* stats,
    const std::function<bool()>& cancelled) {
  GenerateStats unused;
  Call call(runner, callback, stats != nullptr ? stats : &unused);
  RETURN_IF_ERROR(call.Submit(requests));
  return call.Run(cancelled);
}

}  // namespace intarsia
