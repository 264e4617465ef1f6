// The targets of targets.def.
#include <algorithm>
#include <string_view>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/core/fuzz/memory_file.h"
#include "intarsia/eval/recorded_logits.h"

namespace intarsia {

bool FuzzRecordedLogits(std::string_view input) {
  static auto* file = new FuzzFile;
  file->Set(input);
  const auto recorded = RecordedLogits::Open(file->path());
  if (!recorded.ok()) {
    const std::string& message = recorded.status().message();
    CHECK(message.starts_with("[") && IsUtf8(message)) << message;
    return false;
  }
  int64_t sum = 0;
  for (const int32_t token : recorded->tokens()) sum ^= token;
  const RecordedShape& shape = recorded->shape();
  const int64_t rows = shape.pieces * shape.rows;
  std::vector<double> row;
  for (int64_t i = 0; i < rows; i = std::max(i + 1, rows - 64)) {
    recorded->Row(i, &row);
    CHECK_EQ(static_cast<int64_t>(row.size()), shape.vocab);
  }
  return sum >= 0 || !row.empty();
}

}  // namespace intarsia
