// Distributions of a model over a text, in a safetensors file: the tokens, and
// for each scored one the log-probabilities of all tokens in steps of 2^-10
// below the row's largest, as u16 (KL errors under 1e-7 nats, a quarter of the
// bytes of fp64).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "intarsia/checkpoint/atomic_file.h"
#include "intarsia/checkpoint/checkpoint.h"
#include "intarsia/core/status.h"

namespace intarsia {

struct RecordedShape {
  int64_t context = 0, pieces = 0, rows = 0, vocab = 0;  // rows a piece
};

// Written row by row: nothing of the size of the file is held in memory.
class LogitsRecorder {
 public:
  LogitsRecorder(const std::string& path, RecordedShape shape)
      : file_(path, "perplexity"), shape_(shape) {}

  Status Begin(std::span<const int32_t> tokens);  // [pieces · context]
  // Log-probabilities (natural, normalised) of one row.
  Status Add(std::span<const double> log_probabilities);
  Status Commit() { return file_.Commit(); }

 private:
  AtomicFile file_;
  RecordedShape shape_;
  std::vector<uint16_t> steps_;
};

class RecordedLogits {
 public:
  static Result<RecordedLogits> Open(const std::string& path);

  const RecordedShape& shape() const { return shape_; }
  std::span<const int32_t> tokens() const;
  // Normalised again after the rounding.
  void Row(int64_t row, std::vector<double>* log_probabilities) const;

 private:
  std::shared_ptr<Checkpoint> checkpoint_;
  RecordedShape shape_;
  Tensor tokens_, steps_;
};

}  // namespace intarsia
