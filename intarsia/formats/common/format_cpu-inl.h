// The end of a room's X_cpu.cc, inside formats::HWY_NAMESPACE's file: the
// kernels that kernels.h declares, by run-time dispatch. The file stands once
// for each target, so this has no include guard.
//
//   #define INTARSIA_FORMAT q4_k                        the room
//   #define INTARSIA_DOT DotParts<Block>                takes DotArgs
//   #define INTARSIA_DEQUANTIZE DequantizeParts<Block>  bytes, numbers, k
//   #include "intarsia/formats/common/format_cpu-inl.h"

HWY_BEFORE_NAMESPACE();
namespace intarsia::formats::HWY_NAMESPACE {
namespace {

void DotHere(const DotArgs& args) { INTARSIA_DOT(args); }
void DequantizeHere(const std::byte* in, float* out, int64_t k) {
  INTARSIA_DEQUANTIZE(in, out, k);
}

}  // namespace
}  // namespace intarsia::formats::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#define INTARSIA_CPU_OF_(name) name##_cpu
#define INTARSIA_CPU_OF(name) INTARSIA_CPU_OF_(name)
namespace intarsia::formats {

HWY_EXPORT(DotHere);
HWY_EXPORT(DequantizeHere);

void INTARSIA_CPU_OF(INTARSIA_FORMAT)::Dot(const DotArgs& args) {
  HWY_DYNAMIC_DISPATCH(DotHere)(args);
}
void INTARSIA_CPU_OF(INTARSIA_FORMAT)::Dequantize(const std::byte* in,
                                                  float* out, int64_t k) {
  HWY_DYNAMIC_DISPATCH(DequantizeHere)(in, out, k);
}

}  // namespace intarsia::formats
#endif
#undef INTARSIA_FORMAT
#undef INTARSIA_DOT
#undef INTARSIA_DEQUANTIZE
