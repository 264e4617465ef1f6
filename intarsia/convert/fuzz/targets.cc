// The targets of targets.def.
#include <cmath>
#include <string_view>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/convert/imatrix.h"

namespace intarsia {

bool FuzzImatrix(std::string_view input) {
  const auto file = MappedFile::OfBytes(
      "fuzz.bin", std::as_bytes(std::span<const char>(input)));
  const auto matrix = ImportanceMatrix::Read(file);
  if (!matrix.ok()) {
    const std::string& message = matrix.status().message();
    CHECK(message.find("fuzz.bin") != std::string::npos) << message;
    CHECK(IsUtf8(message)) << message;
    return false;
  }
  CHECK(matrix->size() > 0);
  for (const float x : matrix->Of("a")) CHECK(std::isfinite(x) && x >= 0);
  return true;
}

}  // namespace intarsia
