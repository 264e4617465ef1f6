// Recomputes what an independent implementation recorded for a model: logits,
// greedy tokens, and optionally the loss and the gradient of every weight.
#pragma once

#include <string>
#include <vector>

#include "intarsia/core/context.h"
#include "intarsia/families/load.h"

namespace intarsia {

struct VerifyOptions {
  std::string golden;     // golden.safetensors
  std::string gradients;  // grads.safetensors; empty: not compared
  Form form = Form::kAuto;
  std::vector<int> chunks;   // prefill in pieces of these sizes, one run each
  bool batch_split = false;  // together with sequences of unlike lengths
  double tolerance = 1e-3;   // of the deviation of the recorded logits
  int threads = 0;
  Device device;
  DType dtype = DType::kF32;  // of activations (Context::dtype)
  KernelReport* report = nullptr;
};

struct VerifyReport {
  struct Run {
    std::string name;  // "whole", "chunk 7", "recurrent"
    double max_abs_error = 0.0;
    // Of the next token's distribution, over the rows of all sequences:
    double mean_kl = 0.0;         // KL(recorded ‖ ours), nats
    double top1_agreement = 1.0;  // share of rows with the same largest logit
  };
  std::vector<Run> runs;
  double max_abs_error = 0.0;  // the worst of all runs, as the next two
  double mean_kl = 0.0;
  double top1_agreement = 1.0;
  double max_hidden_error = -1.0;  // −1: not recorded
  double logit_std = 0.0;
  bool greedy_match = true;
  // Compared, up to the first margin under 1e-3; in bf16 under twice the
  // tolerance.
  int greedy_steps = 0;
  bool has_gradients = false;
  double loss_error = 0.0;
  double max_rel_grad_error = 0.0;
  std::string worst_gradient;
  bool passed = false;
};

// `loaded` is on options.device; gradients need fp32 weights.
Result<VerifyReport> Verify(LoadedModel& loaded, const VerifyOptions& options);

}  // namespace intarsia
