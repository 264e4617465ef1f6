// Flags of the verbs that open a model, and how they open it.
#pragma once

#include <cstdio>
#include <memory>

#include "intarsia/cli/command.h"
#include "intarsia/core/kernel_report.h"
#include "intarsia/families/open.h"
#include "intarsia/families/translate.h"

namespace intarsia {

struct OpeningFlags : CommonFlags {
  bool allow_unused = false;

  LoadOptions opening() const {
    LoadOptions options;
    options.allow_unused = allow_unused;
    return options;
  }
};

// Of those that compute with it.
struct ComputingFlags : OpeningFlags {
  std::string dtype = "auto";
  bool explain = false, require_fast = false;
  std::shared_ptr<KernelReport> report;

  DType dtype_of() const {
    if (dtype == "auto")
      return device_of().is_cuda() ? DType::kBF16 : DType::kF32;
    return dtype == "bf16" ? DType::kBF16 : DType::kF32;
  }
  // An error where the device computes in fp32 alone. Makes the report.
  Status Begin() {
    if (dtype_of() == DType::kBF16 && device_of().is_cpu()) {
      return Unsupported(
          "--dtype bf16 needs --device cuda; the CPU computes "
          "in f32");
    }
    if ((explain || require_fast) && device_of().is_cpu()) {
      Warn(
          "--explain and --require-fast speak of GPU kernels; this runs on the "
          "CPU");
    } else if (explain || require_fast) {
      report = std::make_shared<KernelReport>(require_fast);
    }
    return Status::Ok();
  }
  void Explain() const {
    if (report != nullptr && explain)
      std::fputs(report->ToString().c_str(), stderr);
  }
};

// Of those that compute with it many times.
struct ServingFlags : ComputingFlags {
  bool no_pack = false;

  LoadOptions serving() const {
    LoadOptions options = opening();
    options.pack = !no_pack;
    options.pack_threads = threads;
    return options;
  }
};

// The common flags and these.
inline void AddOpening(Verb verb, OpeningFlags* flags) {
  AddCommon(verb, flags);
  verb.Add("--allow-unused", &flags->allow_unused,
           "Go on, with a warning, where tensors or settings of the model "
           "are not used");
}

inline void AddComputing(Verb verb, ComputingFlags* flags) {
  AddOpening(verb, flags);
  verb.Add("--dtype", &flags->dtype, {"auto", "f32", "bf16"},
           "Of activations; auto: bf16 on a GPU");
  verb.Add("--explain", &flags->explain,
           "Print which GPU kernel ran each op and why not a faster one");
  verb.Add("--require-fast", &flags->require_fast,
           "Fail where a GPU would run an op without a tuned kernel");
}

inline void AddServing(Verb verb, ServingFlags* flags) {
  AddComputing(verb, flags);
  verb.Add("--no-pack", &flags->no_pack,
           "Compute on the weights as the file has them, without a copy "
           "in the order that this CPU reads fastest: less memory, slower");
}

// OpenModel, with its warnings shown.
inline Result<OpenedModel> OpenShown(const std::string& name,
                                     const LoadOptions& options,
                                     Device device) {
  ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(name, options, device));
  WarnAll(opened.loaded.warnings);
  return opened;
}

// For verbs that read a checkpoint tensor by tensor: the same warnings, and an
// error where the model would not use all of it. Of families that are not known
// nothing can be said.
inline Status CheckShown(const Checkpoint& checkpoint,
                         const OpeningFlags& flags) {
  if (!KnowsFamily(checkpoint)) return Status::Ok();
  ASSIGN_OR_RETURN(Translation translated, Translate(checkpoint));
  RETURN_IF_ERROR(CheckUnused(checkpoint, flags.allow_unused, &translated));
  WarnAll(translated.warnings);
  return Status::Ok();
}

}  // namespace intarsia
