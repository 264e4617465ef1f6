#include "intarsia/formats/common/half_format.h"
#include "intarsia/formats/common/paths.h"
#include "intarsia/formats/registry.h"

namespace intarsia::formats {

const Format& f16() {
  static const auto* format = new HalfFormat<intarsia::f16, ToF16>(
      {.name = "f16",
       .storage = DType::kF16,
       .dot = f16_cpu::Dot,
       .dequantize = f16_cpu::Dequantize,
       .packed = Path<f16_cpu::PanelsAvx512, f16_cpu::PanelsAvx2>});
  return *format;
}

}  // namespace intarsia::formats
