// intarsia perplexity MODEL --text FILE: how well a model predicts a text, and
// how far it is from a reference.
#include "intarsia/eval/perplexity.h"
#include "intarsia/core/counted.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/cli/answer.h"
#include "intarsia/cli/command.h"
#include "intarsia/cli/serving.h"
#include "intarsia/convert/hf_model.h"

namespace intarsia {
namespace {

struct Flags : ServingFlags {
  std::string model, text, state_dtype = "bf16", state_memory;
  PerplexityOptions options;
};

nlohmann::json ToJson(const Estimate& estimate) {
  return {{"mean", estimate.mean}, {"error", estimate.error}};
}

nlohmann::json ToJson(const PerplexityReport& report) {
  nlohmann::json json = {{"pieces", report.pieces},
                         {"tokens", report.tokens},
                         {"nll", ToJson(report.nll)},
                         {"perplexity", report.perplexity},
                         {"perplexity_error", report.perplexity_error}};
  if (!report.compared) return json;
  json["reference_perplexity"] = report.reference_perplexity;
  json["log_ratio"] = ToJson(report.log_ratio);
  json["kl"] = ToJson(report.kl);
  json["kl_median"] = report.kl_median;
  json["kl_p99"] = report.kl_p99;
  json["kl_max"] = report.kl_max;
  json["top1_agreement"] = ToJson(report.top1);
  json["rms_probability_error"] = report.rms_probability_error;
  return json;
}

void Print(const PerplexityReport& report) {
  std::printf("perplexity %.4f +- %.4f (%s in %s)\n", report.perplexity,
              report.perplexity_error, Counted(report.tokens, "token").c_str(),
              Counted(report.pieces, "piece").c_str());
  if (!report.compared) return;
  std::printf(
      "reference perplexity %.4f, ratio %.6f +- %.6f\n"
      "KL from the reference: mean %.3e +- %.1e, median %.3e, 99 %% %.3e, "
      "max %.3e\n"
      "same likeliest token %.3f %% +- %.3f %%\n"
      "RMS change of the next token's probability %.3f %%\n",
      report.reference_perplexity, std::exp(report.log_ratio.mean),
      std::exp(report.log_ratio.mean) * report.log_ratio.error, report.kl.mean,
      report.kl.error, report.kl_median, report.kl_p99, report.kl_max,
      100 * report.top1.mean, 100 * report.top1.error,
      100 * report.rms_probability_error);
}

Status Run(Flags& flags) {
  RETURN_IF_ERROR(flags.Begin());
  ModelRunner::Options needs;
  needs.context = flags.options.context;
  needs.device = flags.device_of();
  needs.token_dtype = StateDType(flags.state_dtype);
  needs.state_bytes = StateMemory(flags.state_memory);
  LoadOptions load = flags.serving();
  load.admit = AdmitState(needs);
  ASSIGN_OR_RETURN(const OpenedModel opened,
                   OpenShown(flags.model, load, flags.device_of()));
  if (opened.tokenizer == nullptr) {
    return NotFound("[perplexity] " + flags.model + " has no tokenizer");
  }
  if (const std::string& out = flags.options.record; !out.empty()) {
    RETURN_IF_ERROR(AtomicFile::Check(out, "perplexity"));
    RETURN_IF_ERROR(CheckNotInput(out, {flags.text, flags.options.reference},
                                  "perplexity"));
    RETURN_IF_ERROR(CheckNotSource(*opened.checkpoint, out, "perplexity"));
  }
  ASSIGN_OR_RETURN(const std::string text,
                   ReadTextFile(flags.text, kMostTextBytes));
  ASSIGN_OR_RETURN(const std::vector<int32_t> tokens,
                   opened.tokenizer->Encode(text));
  PerplexityOptions& options = flags.options;
  options.threads = flags.threads;
  options.device = flags.device_of();
  options.token_dtype = StateDType(flags.state_dtype);
  options.dtype = flags.dtype_of();
  options.report = flags.report.get();
  // Where the tokenizer begins texts with a token, every piece does.
  const int32_t bos = opened.tokenizer->bos_id();
  if (!tokens.empty() && tokens[0] == bos) options.bos_id = bos;
  ASSIGN_OR_RETURN(
      const PerplexityReport report,
      MeasurePerplexity(opened.model(), tokens, options,
                        [](const PerplexityReport& so_far, int64_t pieces) {
                          if (!StderrIsTerminal()) return;
                          std::fprintf(
                              stderr, "\rpiece %lld of %lld: %.4f +- %.4f%s",
                              static_cast<long long>(so_far.pieces),
                              static_cast<long long>(pieces), so_far.perplexity,
                              so_far.perplexity_error,
                              so_far.pieces == pieces ? "\n" : "  ");
                        }));
  flags.Explain();
  if (flags.json) {
    PrintJson(ToJson(report));
  } else {
    Print(report);
  }
  return Status::Ok();
}

}  // namespace

void AddPerplexity(Verb verb) {
  auto flags = std::make_shared<Flags>();
  AddServing(verb, flags.get());
  verb.Add("MODEL", &flags->model, "Folder, .gguf file or pulled model")
      .Required();
  verb.Add("--text", &flags->text,
           "The text, a file of at most 1 GiB; - is the standard input")
      .Required();
  PerplexityOptions* options = &flags->options;
  verb.Add("--ctx", &options->context, Whole{4, 1 << 20},
           "Tokens of a piece; its second half is scored");
  verb.Add("--pieces", &options->pieces, Whole{0, 1 << 30},
           "At most so many; 0: all");
  verb.Add("--record", &options->record,
           "Write the distributions to FILE, as a reference");
  verb.Add("--reference", &options->reference,
           "Compare with what --record wrote for another model");
  AddStateDType(verb, &flags->state_dtype);
  AddStateMemory(verb, &flags->state_memory);
  verb.Run([flags] { return Run(*flags); });
}

}  // namespace intarsia
