// The one place where an op chooses its device, checks whether it can be
// differentiated there, and records itself on the tape.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "intarsia/autograd/tape.h"
#include "intarsia/cuda/kernels.h"

namespace intarsia {

// Where a gradient can be computed.
enum class Differentiable : uint8_t { kEverywhere, kOnCpu };

template <typename Kernels>
struct OpDoor {
  const char* name;        // "rms_norm"
  const char* room;        // "norm"
  const Kernels* kernels;  // null: this build has none
  Differentiable differentiable = Differentiable::kEverywhere;
};

// An op without kernels for a GPU.
struct NoKernels {};
inline OpDoor<NoKernels> CpuOnly(const char* name, const char* room) {
  return {name, room, nullptr, Differentiable::kOnCpu};
}

// cpu() or cuda(kernels), by the device. EngineError where the build has no
// kernels for it. Forward passes and vector-Jacobian products alike.
template <typename Kernels, typename OnCpu, typename OnCuda>
auto OnDevice(Device device, const OpDoor<Kernels>& door, const OnCpu& cpu,
              const OnCuda& cuda) -> decltype(cpu()) {
  if (device.is_cuda()) {
    return cuda(RequireKernels(door.kernels, door.room));
  }
  return cpu();
}

// EngineError when ctx.tape is set and the op has no gradient on the device.
template <typename Kernels>
void CheckDifferentiable(const Context& ctx, Device device,
                         const OpDoor<Kernels>& door) {
  if (ctx.tape == nullptr || device.is_cpu() ||
      door.differentiable == Differentiable::kEverywhere) {
    return;
  }
  throw EngineError(std::string("[") + door.room + "] " + door.name +
                    " has no gradient on " + Name(device) +
                    "; train with --device cpu");
}

// Computes an op of one output on `device` and records it. `vjp` is the
// Tape::BackwardFn, asked for only when there is a tape.
template <typename Kernels, typename OnCpu, typename OnCuda, typename Vjp>
Tensor Run(Context& ctx, const OpDoor<Kernels>& door, Device device,
           const std::vector<Tensor>& inputs, const OnCpu& cpu,
           const OnCuda& cuda, Vjp&& vjp) {
  CheckDifferentiable(ctx, device, door);
  Tensor y = OnDevice(device, door, cpu, cuda);
  if (ctx.tape != nullptr) {
    ctx.tape->Record(door.name, ctx, inputs, {&y}, std::forward<Vjp>(vjp));
  }
  return y;
}

}  // namespace intarsia
