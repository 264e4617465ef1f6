// Perplexity of a text, and how far a model's distributions are from those that
// a reference model gave for the same tokens.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "intarsia/core/device.h"
#include "intarsia/core/kernel_report.h"
#include "intarsia/core/status.h"
#include "intarsia/model/model.h"

namespace intarsia {

struct PerplexityOptions {
  // The text is cut into pieces of this many tokens, each read from an empty
  // state; the tokens of a piece's second half are scored, so that every one
  // has at least half the context before it.
  int64_t context = 512;
  int64_t pieces = 0;     // at most this many; 0: all
  int32_t bos_id = -1;    // replaces the first token of each piece; -1: none
  std::string record;     // write the distributions to this file
  std::string reference;  // a file so written; empty: not compared
  int threads = 0;
  Device device;
  DType token_dtype = DType::kBF16;
  DType dtype = DType::kF32;       // of activations
  KernelReport* report = nullptr;  // which kernels ran; must outlive the call
};

// A mean over scored tokens and its standard error.
struct Estimate {
  double mean = 0, error = 0;
};

struct PerplexityReport {
  int64_t pieces = 0, tokens = 0;  // scored
  Estimate nll;                    // nats a token
  double perplexity = 0;
  double perplexity_error = 0;  // of the perplexity, from that of its log

  bool compared = false;  // the rest, with a reference
  double reference_perplexity = 0;
  Estimate log_ratio;  // ln(perplexity / reference)
  Estimate kl;         // KL(reference || model), nats
  double kl_median = 0, kl_p99 = 0, kl_max = 0;
  Estimate top1;  // share of tokens with the same likeliest one
  double rms_probability_error = 0;  // of the token that came
};

// `done` is called after each piece with what is known so far. Fails when the
// text is shorter than one piece, and when the reference belongs to other
// tokens, another vocabulary or another context.
Result<PerplexityReport> MeasurePerplexity(
    const Model& model, std::span<const int32_t> tokens,
    const PerplexityOptions& options,
    const std::function<void(const PerplexityReport&, int64_t pieces)>& done);

}  // namespace intarsia
