#include "intarsia/formats/common/half_format.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {

const Format& bf16() {
  static const auto* format = new HalfFormat<intarsia::bf16, ToBF16>(
      {.name = "bf16",
       .storage = DType::kBF16,
       .dot = bf16_cpu::Dot,
       .dequantize = bf16_cpu::Dequantize,
       .packed = Path<bf16_cpu::PanelsAvx512, bf16_cpu::PanelsAvx2>});
  return *format;
}

}  // namespace intarsia::formats
