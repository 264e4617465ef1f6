// intarsia verify MODEL: recompute what an independent implementation recorded.
#include "intarsia/eval/verify.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "intarsia/cli/command.h"
#include "intarsia/cli/serving.h"
#include "intarsia/families/open.h"

namespace intarsia {
namespace {

struct Flags : ComputingFlags {
  std::string model, reference, gradients, form = "auto";
  std::vector<int> chunks;
  bool with_gradients = false, batch_split = false;
  double tolerance = 1e-3;
};

// A recorded file beside the model.
std::string Beside(const Checkpoint& checkpoint, const char* name) {
  const std::filesystem::path path = checkpoint.path();
  return (std::filesystem::is_directory(path) ? path / name
                                              : path.parent_path() / name)
      .string();
}

nlohmann::json ToJson(const VerifyReport& report) {
  nlohmann::json json = {{"max_abs_error", report.max_abs_error},
                         {"mean_kl", report.mean_kl},
                         {"top1_agreement", report.top1_agreement},
                         {"logit_std", report.logit_std},
                         {"greedy_match", report.greedy_match},
                         {"greedy_steps", report.greedy_steps},
                         {"passed", report.passed}};
  if (report.max_hidden_error >= 0) {
    json["max_hidden_error"] = report.max_hidden_error;
  }
  for (const VerifyReport::Run& run : report.runs) {
    json["runs"].push_back({{"name", run.name},
                            {"max_abs_error", run.max_abs_error},
                            {"mean_kl", run.mean_kl},
                            {"top1_agreement", run.top1_agreement}});
  }
  if (report.has_gradients) {
    json["loss_error"] = report.loss_error;
    json["max_rel_grad_error"] = report.max_rel_grad_error;
    json["worst_gradient"] = report.worst_gradient;
  }
  return json;
}

void Print(const VerifyReport& report) {
  for (const VerifyReport::Run& run : report.runs) {
    std::printf("%-32s %.3e\n", run.name.c_str(), run.max_abs_error);
  }
  std::printf(
      "max_abs_error %.6e\nmean_kl %.6e\ntop1_agreement %.6f\n"
      "logit_std %.6f\ngreedy_match %s (%d steps)\n",
      report.max_abs_error, report.mean_kl, report.top1_agreement,
      report.logit_std, report.greedy_match ? "true" : "false",
      report.greedy_steps);
  if (report.max_hidden_error >= 0) {
    std::printf("max_hidden_error %.6e\n", report.max_hidden_error);
  }
  if (report.has_gradients) {
    std::printf("loss_error %.6e\nmax_rel_grad_error %.6e (%s)\n",
                report.loss_error, report.max_rel_grad_error,
                report.worst_gradient.c_str());
  }
}

Status Run(Flags& flags) {
  RETURN_IF_ERROR(flags.Begin());
  VerifyOptions options;
  LoadOptions load = flags.opening();
  if (flags.with_gradients) {
    if (flags.dtype_of() != DType::kF32) {
      return Unsupported("[verify] gradients are computed in f32");
    }
    load.matrices = &PlainFormat(DType::kF32);
  }
  ASSIGN_OR_RETURN(OpenedModel opened,
                   OpenShown(flags.model, load, flags.device_of()));
  options.golden = flags.reference.empty()
                       ? Beside(*opened.checkpoint, "golden.safetensors")
                       : flags.reference;
  if (flags.with_gradients) {
    options.gradients = flags.gradients.empty()
                            ? Beside(*opened.checkpoint, "grads.safetensors")
                            : flags.gradients;
  }
  options.form = flags.form == "parallel"    ? Form::kParallel
                 : flags.form == "chunked"   ? Form::kChunked
                 : flags.form == "recurrent" ? Form::kRecurrent
                                             : Form::kAuto;
  options.chunks = flags.chunks;
  options.batch_split = flags.batch_split;
  options.tolerance = flags.tolerance;
  options.threads = flags.threads;
  options.device = flags.device_of();
  options.dtype = flags.dtype_of();
  options.report = flags.report.get();
  ASSIGN_OR_RETURN(const VerifyReport report, Verify(opened.loaded, options));
  flags.Explain();
  if (flags.json) {
    PrintJson(ToJson(report));
  } else {
    Print(report);
  }
  if (report.passed) return Status::Ok();
  if (!std::isfinite(report.max_abs_error)) {
    return DataLoss("[verify] " + flags.model +
                    ": the model's logits are not finite");
  }
  return DataLoss("[verify] " + flags.model + " is past the tolerance of " +
                  std::to_string(flags.tolerance) + " deviations");
}

}  // namespace

void AddVerify(Verb verb) {
  auto flags = std::make_shared<Flags>();
  flags->dtype = "f32";
  AddComputing(verb, flags.get());
  verb.Add("MODEL", &flags->model, "Folder, .gguf file or pulled model")
      .Required();
  verb.Add("--reference", &flags->reference,
           "Recorded file (default: golden.safetensors beside MODEL)");
  Argument gradients =
      verb.Add("--gradients", &flags->gradients,
               "Compare gradients too (default: grads.safetensors)")
          .ValueOptional();
  verb.Add("--form", &flags->form, {"auto", "parallel", "chunked", "recurrent"},
           "Force a form of the primitives");
  verb.Add("--chunk", &flags->chunks, Whole{1, 1 << 20},
           "Prefill in pieces of these sizes, one run each");
  verb.Add("--batch-split", &flags->batch_split,
           "Run the sequences among others of unlike lengths");
  verb.AddNotNegative("--tol", &flags->tolerance,
                      "Largest difference, in deviations of the logits");
  verb.Run([=] {
    flags->with_gradients = gradients.given();
    return Run(*flags);
  });
}

}  // namespace intarsia
