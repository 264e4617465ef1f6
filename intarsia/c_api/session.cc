// Sessions: a sequence, its state, and answers.
#include <mutex>

#include "intarsia/c_api/boundary.h"
#include "intarsia/c_api/handles.h"

namespace {

using namespace intarsia;         // NOLINT(google-build-using-namespace)
using namespace intarsia::c_api;  // NOLINT(google-build-using-namespace)

constexpr int32_t kMostThreads = 4096;
constexpr int32_t kMostContext = 1 << 24;

intarsia_session_options SessionDefaults() {
  intarsia_session_options options = {};
  options.size = sizeof(options);
  return options;
}

intarsia_generate_options GenerateDefaults() {
  const SamplingOptions sampling;
  intarsia_generate_options o = {};
  o.size = sizeof(o);
  o.max_tokens = Request().max_tokens;
  o.temperature = sampling.temperature;
  o.top_k = sampling.top_k;
  o.top_p = sampling.top_p;
  o.min_p = sampling.min_p;
  o.typical_p = sampling.typical_p;
  o.repeat_penalty = sampling.repeat_penalty;
  o.presence_penalty = sampling.presence_penalty;
  o.frequency_penalty = sampling.frequency_penalty;
  o.repeat_last = sampling.repeat_last;
  o.dry_multiplier = sampling.dry_multiplier;
  o.dry_base = sampling.dry_base;
  o.dry_allowed_length = sampling.dry_allowed_length;
  o.dry_last = sampling.dry_last;
  o.seed = sampling.seed;
  return o;
}

SamplingOptions SamplingOf(const intarsia_generate_options& o,
                           const Tokenizer& tokenizer) {
  SamplingOptions sampling;
  sampling.temperature = o.temperature;
  sampling.top_k = o.top_k;
  sampling.top_p = o.top_p;
  sampling.min_p = o.min_p;
  sampling.typical_p = o.typical_p;
  sampling.repeat_penalty = o.repeat_penalty;
  sampling.presence_penalty = o.presence_penalty;
  sampling.frequency_penalty = o.frequency_penalty;
  sampling.repeat_last = o.repeat_last;
  sampling.dry_multiplier = o.dry_multiplier;
  sampling.dry_base = o.dry_base;
  sampling.dry_allowed_length = o.dry_allowed_length;
  sampling.dry_last = o.dry_last;
  sampling.seed = o.seed;
  if (o.dry_multiplier > 0) {
    sampling.dry_breakers = DryBreakerIds(tokenizer, UsualDryBreakers());
  }
  for (size_t i = 0; i < o.logit_bias_count; ++i) {
    sampling.logit_bias.push_back(
        {o.logit_bias[i].token, o.logit_bias[i].bias});
  }
  return sampling;
}

Status CheckOptions(const intarsia_generate_options& o) {
  if (o.max_tokens < 1) {
    return InvalidArgument("[c_api] max_tokens must be 1 or more");
  }
  if (o.stop_count > 0 && o.stops == nullptr) {
    return InvalidArgument("[c_api] stop_count without stops");
  }
  for (size_t i = 0; i < o.stop_count; ++i) {
    if (o.stops[i] == nullptr) {
      return InvalidArgument("[c_api] a stop text is NULL");
    }
  }
  if (o.logit_bias_count > 0 && o.logit_bias == nullptr) {
    return InvalidArgument("[c_api] logit_bias_count without logit_bias");
  }
  return Status::Ok();
}

Outcome Create(const intarsia_model* model,
               const intarsia_session_options* given, intarsia_session** out) {
  if (out == nullptr) {
    return InvalidArgument("[c_api] the place for the session is NULL");
  }
  *out = nullptr;
  if (model == nullptr) return InvalidArgument("[c_api] the model is NULL");
  const auto options = ReadStruct(given, SessionDefaults());
  if (!options.ok()) return options.status();
  if (options->threads < 0 || options->threads > kMostThreads) {
    return InvalidArgument("[c_api] threads must be from 0 to 4096");
  }
  if (options->context < 0 || options->context > kMostContext) {
    return InvalidArgument("[c_api] the context must be from 0 to 16777216");
  }
  const SharedModel& shared = *model->shared;
  if (shared.opened.tokenizer == nullptr) {
    return NotFound("[c_api] " + shared.opened.checkpoint->path() +
                    " has no tokenizer");
  }
  ModelRunner::Options runner;
  runner.threads = options->threads;
  runner.device = shared.device;
  runner.prefix_bytes = ModelRunner::Options::kOneConversation;
  runner.context = options->context > 0
                       ? options->context
                       : DefaultContext(shared.opened.model().config());
  *out = new intarsia_session(model->shared, runner);
  return Status::Ok();
}

// All of a GPU's work is on one stream, and its recordings are the process's.
std::unique_lock<std::recursive_mutex> TakeTurn(Device device) {
  static std::recursive_mutex mutex;
  if (device.is_cpu()) return {};
  return std::unique_lock<std::recursive_mutex>(mutex);
}

// Holds the session for one call.
class Hold {
 public:
  explicit Hold(intarsia_session* session)
      : session_(session), mine_(!session->busy.exchange(true)) {}
  ~Hold() {
    if (mine_) session_->busy = false;
  }
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  bool mine() const { return mine_; }

 private:
  intarsia_session* session_;
  bool mine_;
};

Outcome Busy() {
  return Outcome(INTARSIA_BUSY, "[c_api] the session is in another call");
}

struct Callback {
  intarsia_text_callback call;
  void* user;
};

Outcome Run(intarsia_session& session, const std::vector<int32_t>& prompt,
            const intarsia_generate_options& options, const Callback& callback,
            intarsia_generate_result* result) {
  const OpenedModel& opened = session.shared->opened;
  Request request;
  request.max_tokens = options.max_tokens;
  request.sampling = SamplingOf(options, *opened.tokenizer);
  const Status valid = Validate(request.sampling);
  if (!valid.ok()) return valid;
  if (options.ignore_eos == 0) {
    request.stop_ids = StopIds(opened.model().config(), *opened.tokenizer);
  }
  std::vector<std::string> stops(options.stops,
                                 options.stops + options.stop_count);
  if (options.ignore_eos == 0) {
    stops = StopTexts(opened.model().config(), std::move(stops));
  }
  request.prompt = prompt;
  request.reuse = Reuse::kAll;
  GenerateStats stats;
  bool ended = false;  // by the callback
  const auto show = [&](const std::string& piece) {
    if (ended || callback.call == nullptr) return;
    ended = callback.call(piece.c_str(), piece.size(), callback.user) != 0;
  };
  const auto answer = Ask(session.runner, *opened.tokenizer, request, stops,
                          &stats, show, [&] { return ended; });
  if (!answer.ok()) return answer.status();
  result->finish = answer->finish == "stop"     ? INTARSIA_FINISH_STOP
                   : answer->finish == "length" ? INTARSIA_FINISH_LENGTH
                                                : INTARSIA_FINISH_CANCELLED;
  result->prompt_tokens = stats.prompt_tokens;
  result->reused_tokens = stats.reused_tokens;
  result->generated_tokens = stats.generated_tokens;
  result->prefill_seconds = stats.prefill_seconds;
  result->decode_seconds = stats.decode_seconds;
  return Status::Ok();
}

Outcome GenerateText(intarsia_session* session, const int32_t* prompt,
                     size_t prompt_count,
                     const intarsia_generate_options* given,
                     const Callback& callback, intarsia_generate_result* out,
                     size_t out_size) {
  if (session == nullptr) return InvalidArgument("[c_api] the session is NULL");
  const Hold hold(session);
  if (!hold.mine()) return Busy();
  if (prompt == nullptr || prompt_count == 0) {
    return InvalidArgument("[c_api] the prompt has no tokens");
  }
  if (out != nullptr &&
      (out_size < sizeof(size_t) || out_size > kMostStructBytes)) {
    return InvalidArgument("[c_api] the size of the result is wrong");
  }
  const auto options = ReadStruct(given, GenerateDefaults());
  if (!options.ok()) return options.status();
  const Status valid = CheckOptions(*options);
  if (!valid.ok()) return valid;
  const auto turn = TakeTurn(session->shared->device);
  intarsia_generate_result result = {};
  const std::vector<int32_t> tokens(prompt, prompt + prompt_count);
  try {
    Outcome outcome = Run(*session, tokens, *options, callback, &result);
    if (outcome.code != INTARSIA_OK) {
      session->runner.ForgetAll();
      return outcome;
    }
  } catch (...) {
    session->runner.ForgetAll();
    throw;
  }
  WriteStruct(result, out, out_size);
  return Status::Ok();
}

}  // namespace

extern "C" {

void intarsia_session_options_init(intarsia_session_options* options,
                                   size_t size) {
  WriteStruct(SessionDefaults(), options, size);
}

void intarsia_generate_options_init(intarsia_generate_options* options,
                                    size_t size) {
  WriteStruct(GenerateDefaults(), options, size);
}

intarsia_status intarsia_session_create(const intarsia_model* model,
                                        const intarsia_session_options* options,
                                        intarsia_session** session) {
  return Guard([&] { return Create(model, options, session); });
}

void intarsia_session_free(intarsia_session* session) {
  if (session == nullptr) return;
  Guard([&]() -> Outcome {
    if (session->busy) return Busy();
    const auto turn = TakeTurn(session->shared->device);
    delete session;
    return Status::Ok();
  });
}

intarsia_status intarsia_generate(intarsia_session* session,
                                  const int32_t* prompt, size_t prompt_count,
                                  const intarsia_generate_options* options,
                                  intarsia_text_callback callback, void* user,
                                  intarsia_generate_result* result,
                                  size_t result_size) {
  return Guard([&] {
    return GenerateText(session, prompt, prompt_count, options,
                        {callback, user}, result, result_size);
  });
}

intarsia_status intarsia_session_reset(intarsia_session* session) {
  return Guard([&]() -> Outcome {
    if (session == nullptr) {
      return InvalidArgument("[c_api] the session is NULL");
    }
    const Hold hold(session);
    if (!hold.mine()) return Busy();
    session->runner.ForgetAll();
    return Status::Ok();
  });
}

}  // extern "C"
