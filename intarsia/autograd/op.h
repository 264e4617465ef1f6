// The one place where an op chooses its device, checks whether it can be
// differentiated there, and records itself on the tape.
#pragma once

#include <string>
#include <type_traits>
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

// What an op of the CPU alone has.
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

// The results of an op that get gradients. For a struct of results, its header
// declares a function of this name.
inline std::vector<Tensor*> TapeOutputs(Tensor* y) { return {y}; }
inline std::vector<Tensor*> TapeOutputs(std::vector<Tensor>* y) {
  std::vector<Tensor*> out;
  for (Tensor& t : *y) out.push_back(&t);
  return out;
}

// `vjp` is the Tape::BackwardFn, or a function of the result that returns it.
template <typename Result, typename Vjp>
void RecordOp(Context& ctx, const char* name, const std::vector<Tensor>& inputs,
              Vjp&& vjp, Result* y) {
  if constexpr (std::is_invocable_v<Vjp, const Result&>) {
    // Made first: what it keeps of the result is not the tape's variable.
    Tape::BackwardFn backward = vjp(std::as_const(*y));
    ctx.tape->Record(name, ctx, inputs, TapeOutputs(y), std::move(backward));
  } else {
    ctx.tape->Record(name, ctx, inputs, TapeOutputs(y), std::forward<Vjp>(vjp));
  }
}

// Computes an op on `device` and records it. The result is a Tensor, a vector
// of them, or a struct with TapeOutputs. `vjp` as in RecordOp; it is looked at
// only when there is a tape.
template <typename Kernels, typename OnCpu, typename OnCuda, typename Vjp>
auto Run(Context& ctx, const OpDoor<Kernels>& door, Device device,
         const std::vector<Tensor>& inputs, const OnCpu& cpu,
         const OnCuda& cuda, Vjp&& vjp) -> decltype(cpu()) {
  CheckDifferentiable(ctx, device, door);
  auto y = OnDevice(device, door, cpu, cuda);
  if (ctx.tape != nullptr) {
    RecordOp(ctx, door.name, inputs, std::forward<Vjp>(vjp), &y);
  }
  return y;
}

// Several ops of the same inputs that are computed together: each is recorded
// for itself, with the i-th result and vjp(i).
template <typename Kernels, typename OnCpu, typename OnCuda, typename Vjp>
std::vector<Tensor> RunEach(Context& ctx, const OpDoor<Kernels>& door,
                            Device device, const std::vector<Tensor>& inputs,
                            const OnCpu& cpu, const OnCuda& cuda,
                            const Vjp& vjp) {
  CheckDifferentiable(ctx, device, door);
  std::vector<Tensor> y = OnDevice(device, door, cpu, cuda);
  for (size_t i = 0; ctx.tape != nullptr && i < y.size(); ++i) {
    RecordOp(ctx, door.name, inputs, vjp(i), &y[i]);
  }
  return y;
}

// An op whose one function takes tensors of any device (views, exchanges
// between ranks, what is computed on the host).
template <typename Compute, typename Vjp>
auto RunAnywhere(Context& ctx, const char* name,
                 const std::vector<Tensor>& inputs, const Compute& compute,
                 Vjp&& vjp) -> decltype(compute()) {
  auto y = compute();
  if (ctx.tape != nullptr) {
    RecordOp(ctx, name, inputs, std::forward<Vjp>(vjp), &y);
  }
  return y;
}

// An op of the CPU alone. EngineError elsewhere, with or without a tape.
template <typename OnCpu, typename Vjp>
auto Run(Context& ctx, const OpDoor<NoKernels>& door, Device device,
         const std::vector<Tensor>& inputs, const OnCpu& cpu, Vjp&& vjp)
    -> decltype(cpu()) {
  if (!device.is_cpu()) {
    throw EngineError(std::string("[") + door.room + "] " + door.name +
                      " has no kernels for " + Name(device));
  }
  return RunAnywhere(ctx, door.name, inputs, cpu, std::forward<Vjp>(vjp));
}

}  // namespace intarsia
