#include "intarsia/eval/recorded_logits.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

namespace intarsia {
namespace {

constexpr double kStep = 0x1p-10;
constexpr char kFormat[] = "intarsia-logits-1";

// Of the metadata's decimal text; 0 when it is none.
int64_t Number(const std::map<std::string, std::string>& metadata,
               const char* name) {
  const auto found = metadata.find(name);
  int64_t value = 0;
  if (found != metadata.end()) {
    const std::string& text = found->second;
    std::from_chars(text.data(), text.data() + text.size(), value);
  }
  return value;
}

}  // namespace

Status LogitsRecorder::Begin(std::span<const int32_t> tokens) {
  const int64_t rows = shape_.pieces * shape_.rows;
  const uint64_t token_bytes = tokens.size_bytes();
  const uint64_t step_bytes = static_cast<uint64_t>(rows * shape_.vocab) * 2;
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", kFormat},
                            {"context", std::to_string(shape_.context)},
                            {"pieces", std::to_string(shape_.pieces)},
                            {"rows", std::to_string(shape_.rows)}};
  header["tokens"] = {{"dtype", "I32"},
                      {"shape", {tokens.size()}},
                      {"data_offsets", {0, token_bytes}}};
  header["steps"] = {{"dtype", "U8"},
                     {"shape", {rows, shape_.vocab, 2}},
                     {"data_offsets", {token_bytes, token_bytes + step_bytes}}};
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t size = text.size();
  RETURN_IF_ERROR(file_.Open());
  RETURN_IF_ERROR(file_.Write(std::as_bytes(std::span(&size, 1))));
  RETURN_IF_ERROR(file_.Write(text));
  return file_.Write(std::as_bytes(tokens));
}

Status LogitsRecorder::Add(std::span<const double> log_probabilities) {
  CHECK(static_cast<int64_t>(log_probabilities.size()) == shape_.vocab);
  const double top = *std::ranges::max_element(log_probabilities);
  steps_.resize(log_probabilities.size());
  std::ranges::transform(log_probabilities, steps_.begin(), [&](double x) {
    return static_cast<uint16_t>(
        std::clamp(std::round((top - x) / kStep), 0.0, 65535.0));
  });
  return file_.Write(std::as_bytes(std::span(steps_)));
}

Result<RecordedLogits> RecordedLogits::Open(const std::string& path) {
  const auto bad = [&](const std::string& what) {
    return InvalidArgument("[perplexity] " + path + ": " + what);
  };
  RecordedLogits out;
  ASSIGN_OR_RETURN(
      std::unique_ptr<Checkpoint> opened,
      Checkpoint::OpenRecord(path, "perplexity",
                             "a recording of `perplexity --record`"));
  out.checkpoint_ = std::move(opened);
  const auto& metadata = out.checkpoint_->metadata();
  const auto format = metadata.find("format");
  if (format == metadata.end() || format->second != kFormat) {
    return bad("not a recording of `perplexity --record`");
  }
  const StoredTensor* tokens = out.checkpoint_->Find("tokens");
  const StoredTensor* steps = out.checkpoint_->Find("steps");
  if (tokens == nullptr || steps == nullptr || tokens->encoding != "i32" ||
      tokens->shape.rank() != 1 || steps->encoding != "u8" ||
      steps->shape.rank() != 3 || steps->shape[2] != 2) {
    return bad("the tensors of a recording are missing");
  }
  RecordedShape& shape = out.shape_;
  shape = {.context = Number(metadata, "context"),
           .pieces = Number(metadata, "pieces"),
           .rows = Number(metadata, "rows"),
           .vocab = steps->shape[1]};
  if (shape.context < 2 || shape.pieces < 1 || shape.rows < 1 ||
      shape.rows >= shape.context || shape.vocab < 1 ||
      tokens->shape[0] / shape.context != shape.pieces ||
      tokens->shape[0] % shape.context != 0 ||
      steps->shape[0] / shape.rows != shape.pieces ||
      steps->shape[0] % shape.rows != 0) {
    return bad("its sizes contradict each other");
  }
  ASSIGN_OR_RETURN(out.tokens_, tokens->AsTensor());
  out.steps_ = steps->bytes;
  return out;
}

std::span<const int32_t> RecordedLogits::tokens() const {
  return {tokens_.data<int32_t>(), static_cast<size_t>(tokens_.numel())};
}

void RecordedLogits::Row(int64_t row,
                         std::vector<double>* log_probabilities) const {
  std::vector<uint16_t> steps(static_cast<size_t>(shape_.vocab));
  const size_t bytes = steps.size() * sizeof(uint16_t);
  std::memcpy(steps.data(), steps_.raw() + static_cast<size_t>(row) * bytes,
              bytes);
  log_probabilities->resize(steps.size());
  double total = 0;
  for (size_t i = 0; i < steps.size(); ++i) {
    (*log_probabilities)[i] = -kStep * steps[i];
    total += std::exp((*log_probabilities)[i]);
  }
  const double log_total = std::log(total);
  for (double& x : *log_probabilities) x -= log_total;
}

}  // namespace intarsia
