#include "intarsia/cli/sampling_flags.h"

#include <charconv>
#include <limits>

#include "intarsia/cli/command.h"

namespace intarsia {
namespace {

Result<std::pair<int32_t, float>> ParseBias(const std::string& text) {
  int32_t id = 0;
  float bias = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, id);
  if (error == std::errc() && rest != end && *rest == '=') {
    const auto parsed = std::from_chars(rest + 1, end, bias);
    if (parsed.ec == std::errc() && parsed.ptr == end) {
      return std::make_pair(id, bias);
    }
  }
  return InvalidArgument("[cli] --logit-bias wants ID=BIAS, such as 42=-1.5 " +
                         ("or 42=-inf, not '" + text + "'"));
}

}  // namespace

void AddSampling(Verb verb, SamplingFlags* flags) {
  SamplingOptions* options = &flags->options;
  const auto number = [&](const char* name, float* value, const char* help) {
    verb.Add(name, value, help).Group("Sampling");
  };
  const auto whole = [&](const char* name, int* value, const char* help) {
    verb.Add(name, value, Whole{-1, std::numeric_limits<int>::max()}, help)
        .Group("Sampling");
  };
  number("--temperature", &options->temperature, "0 takes the likeliest token");
  whole("--top-k", &options->top_k, "Keep the k likeliest; 0: all");
  number("--top-p", &options->top_p,
         "Keep the likeliest that hold this probability");
  number("--min-p", &options->min_p,
         "Drop tokens less likely than this share of the likeliest");
  number("--typical-p", &options->typical_p,
         "Keep the tokens of ordinary information that hold this probability");
  number("--repeat-penalty", &options->repeat_penalty,
         "Divides the logits of recent tokens; 1: off");
  number("--presence-penalty", &options->presence_penalty,
         "Subtracted from the logit of each recent token");
  number("--frequency-penalty", &options->frequency_penalty,
         "The same for each time it occurred");
  whole("--repeat-last", &options->repeat_last,
        "Tokens the penalties look back on; -1: all");
  number("--dry-multiplier", &options->dry_multiplier,
         "Penalty of what goes on repeating (DRY); 0: off");
  number("--dry-base", &options->dry_base,
         "Its growth with each further repeated token");
  whole("--dry-allowed-length", &options->dry_allowed_length,
        "Repeated tokens that cost nothing more");
  whole("--dry-last", &options->dry_last, "Tokens DRY looks back on; -1: all");
  verb.Add("--dry-breaker", &flags->dry_breakers,
           "Text across which nothing counts as repeated; may be given again")
      .Group("Sampling");
  verb.Add("--logit-bias", &flags->logit_bias,
           "ID=BIAS, added to a token's logit; may be given again")
      .Group("Sampling");
}

Result<SamplingOptions> Resolve(const SamplingFlags& flags, uint64_t seed,
                                const Tokenizer& tokenizer) {
  SamplingOptions options = flags.options;
  options.seed = seed;
  for (const std::string& text : flags.logit_bias) {
    ASSIGN_OR_RETURN(const auto bias, ParseBias(text));
    options.logit_bias.push_back(bias);
  }
  if (options.dry_multiplier > 0) {
    options.dry_breakers = DryBreakerIds(tokenizer, flags.dry_breakers);
  }
  RETURN_IF_ERROR(Validate(options));
  return options;
}

}  // namespace intarsia
