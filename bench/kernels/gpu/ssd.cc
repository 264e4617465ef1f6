// The SSD of Mamba-2 against the fp64 recurrence, then timed.
// bench/peers/mamba_ssm_ssd.py times it beside mamba-ssm.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "bench/kernels/gpu/memory_bound.h"
#include "bench/kernels/gpu/ssd_problem.h"
#include "intarsia/mixers/mamba2/sm90_ssd_backward.h"

namespace intarsia::bench {
namespace {

// Where an output is wrong: the error of blocks of 64 tokens, and the first
// value that is far off.
void Explain(Report* report, const std::string& what,
             const std::vector<float>& out,
             const std::vector<double>& reference, size_t row) {
  double norm = 0;
  for (const double value : reference) norm += value * value;
  norm = std::sqrt(norm / std::max<size_t>(1, reference.size()));
  for (size_t i = 0, shown = 0; i < out.size() && shown < 4; ++i) {
    if (std::fabs(out[i] - reference[i]) <= 0.2 * norm) continue;
    report->Line({Report::Str("bad", what), Report::Num("row", i / row),
                  Report::Num("column", i % row), Report::Num("got", out[i]),
                  Report::Num("want", reference[i])});
    ++shown;
    i += 37;
  }
  const size_t block = row * 64;
  for (size_t begin = 0, shown = 0; begin < out.size() && shown < 12;
       begin += block) {
    double error = 0, size = 0;
    for (size_t i = begin; i < std::min(out.size(), begin + block); ++i) {
      error += std::pow(out[i] - reference[i], 2);
      size += reference[i] * reference[i];
    }
    if (std::sqrt(error / size) < 1e-2) continue;
    report->Line({Report::Str("block", what),
                  Report::Num("rows from", begin / row),
                  Report::Num("relative", std::sqrt(error / size))});
    ++shown;
  }
}

void CheckOutput(Report* report, const std::string& name,
                 const std::vector<float>& out,
                 const std::vector<double>& reference, double tolerance,
                 size_t row) {
  const int before = report->failures();
  CheckClose(report, "ssd", name, out, reference, tolerance);
  if (report->failures() > before) Explain(report, name, out, reference, row);
}

// Drops the rows of the poisoned sequence, which are NaN on both sides.
template <typename T>
std::vector<T> WithoutPoison(const SsdProblem& problem, std::vector<T> values,
                             size_t row) {
  if (!problem.shape.poisoned) return values;
  values.erase(values.begin() + problem.in.cu[1] * row,
               values.begin() + problem.in.cu[2] * row);
  return values;
}
template <typename T>
std::vector<T> WithoutPoisonedState(const SsdProblem& problem,
                                    std::vector<T> values) {
  if (!problem.shape.poisoned) return values;
  const size_t size = values.size() / problem.args.sequences;
  values.erase(values.begin() + size, values.begin() + 2 * size);
  return values;
}

constexpr double kTolerance = 1e-2;

void CheckForward(const Options& options, Report* report, const SsdShape& s) {
  const std::string name = "forward " + s.Name();
  if (!Wanted(options, name)) return;
  SsdProblem problem(s, options.seed);
  INTARSIA_BENCH_CUDA(Sm90SsdForward(problem.args, nullptr));
  const SsdOutputs want = problem.Reference(false);
  const size_t row = size_t(s.heads) * SsdProblem::kHeadDim;
  CheckOutput(report, name,
              WithoutPoison(problem, ToFloat(problem.y.Download()), row),
              WithoutPoison(problem, want.y, row), kTolerance, row);
  if (!s.state) return;
  CheckOutput(report, name + " final state",
              WithoutPoisonedState(problem, problem.final_state.Download()),
              WithoutPoisonedState(problem, want.state), kTolerance,
              size_t(s.state_dim));
}

// The outputs of the backward pass, poisoned.
struct Gradients {
  DeviceBuffer<__nv_bfloat16> dx, db, dc;
  DeviceBuffer<float> ddt, da, dd, dbias, dstate;
  DeviceBuffer<uint8_t> workspace;
  Sm90SsdBackwardArgs args;

  // Sizes of dx, dB, dC and of all states.
  Gradients(const Sm90SsdForwardArgs& forward, const __nv_bfloat16* dy,
            const float* final_gradient, size_t narrow, size_t wide,
            size_t states)
      : dx(narrow),
        db(wide),
        dc(wide),
        ddt(size_t(forward.tokens) * forward.heads),
        da(forward.heads),
        dd(forward.heads),
        dbias(forward.heads),
        dstate(states) {
    args.forward = forward;
    args.dy = dy;
    args.final_gradient = final_gradient;
    args.dx = dx.data();
    args.db = db.data();
    args.dc = dc.data();
    args.ddt = ddt.data();
    args.da = da.data();
    args.dd = dd.data();
    args.ddt_bias = dbias.data();
    args.initial_gradient = dstate.data();
    args.dy_stride = args.dx_stride = forward.x_stride;
    args.db_stride = args.dc_stride = forward.b_stride;
    args.ddt_stride = forward.heads;
    workspace = DeviceBuffer<uint8_t>(Sm90SsdBackwardWorkspace(args));
    args.workspace = workspace.data();
  }
};

// A second run gives the bits of the first.
void CheckSameBits(Report* report, const std::string& name, Gradients* out) {
  const auto bits = [](const auto& values) {
    const auto* bytes = reinterpret_cast<const char*>(values.data());
    return std::string(bytes, bytes + values.size() * sizeof(values[0]));
  };
  const auto all = [&] {
    return bits(out->dx.Download()) + bits(out->db.Download()) +
           bits(out->dc.Download()) + bits(out->ddt.Download()) +
           bits(out->da.Download()) + bits(out->dstate.Download());
  };
  const std::string first = all();
  out->dx.Poison();
  out->ddt.Poison();
  out->da.Poison();
  INTARSIA_BENCH_CUDA(Sm90SsdBackward(out->args, nullptr));
  CheckTrue(report, "ssd", name + " same bits", all() == first);
}

void CheckBackward(const Options& options, Report* report, const SsdShape& s) {
  const std::string name = "backward " + s.Name();
  if (!Wanted(options, name)) return;
  SsdProblem problem(s, options.seed);
  Gradients out(problem.args, problem.dy.data(),
                s.state ? problem.dstate.data() : nullptr, problem.in.x.size(),
                problem.in.b.size(), problem.in.state.size());
  INTARSIA_BENCH_CUDA(Sm90SsdBackward(out.args, nullptr));
  const SsdOutputs want = problem.Reference(true);
  const auto check = [&](const char* what, const std::vector<float>& got,
                         const std::vector<double>& expected, size_t row) {
    CheckOutput(report, name + " " + what, WithoutPoison(problem, got, row),
                WithoutPoison(problem, expected, row), kTolerance, row);
  };
  CheckSameBits(report, name, &out);
  const size_t narrow = size_t(s.heads) * SsdProblem::kHeadDim;
  const size_t wide = size_t(s.groups) * s.state_dim;
  check("dx", ToFloat(out.dx.Download()), want.dx, narrow);
  check("dB", ToFloat(out.db.Download()), want.db, wide);
  check("dC", ToFloat(out.dc.Download()), want.dc, wide);
  check("ddt", out.ddt.Download(), want.ddt, s.heads);
  CheckOutput(report, name + " initial state",
              WithoutPoisonedState(problem, out.dstate.Download()),
              WithoutPoisonedState(problem, want.dstate), kTolerance,
              s.state_dim);
  if (s.poisoned) return;  // sums over all sequences
  // Sums over all tokens, whose terms largely cancel.
  constexpr double kSumTolerance = 3e-2;
  CheckOutput(report, name + " dA", out.da.Download(), want.da, kSumTolerance,
              1);
  CheckOutput(report, name + " dD", out.dd.Download(), want.dd, kSumTolerance,
              1);
  CheckOutput(report, name + " d bias", out.dbias.Download(), want.dbias,
              kSumTolerance, 1);
}

std::vector<SsdShape> CheckedShapes(bool quick) {
  const std::vector<int> ragged = {1, 0, 63, 64, 65, 200};
  std::vector<SsdShape> shapes = {
      {{64}, 2, 1, 128, 1, 16, false, false},
      {{128}, 2, 1, 128, 1, 16, false, false},
      {{65, 130}, 3, 1, 128, 1, 16, true, true},
      {ragged, 4, 1, 128, 1, 16, true, true},
      {{100, 70, 90}, 4, 2, 128, 1, 16, true, true, true},
      {{100, 200}, 4, 2, 64, 1, 16, true, true},
  };
  if (quick) return shapes;
  shapes.push_back({{1000}, 4, 1, 128, 0.01f, 1, true, false});      // slow
  shapes.push_back({{1000, 65}, 4, 1, 128, 100, 2000, true, true});  // fast
  shapes.push_back({{4160, 300}, 2, 1, 128, 0.1f, 16, true, true});
  shapes.push_back({{2500}, 1, 1, 64, 0.1f, 16, true, true});
  shapes.push_back({std::vector<int>(40, 33), 8, 8, 128, 1, 16, true, false});
  return shapes;
}

void Time(const Options& options, Report* report, int sequences, int length) {
  SsdShape shape;
  shape.lengths.assign(1, 1);
  shape.heads = 64;
  SsdProblem problem(shape, options.seed);
  const int tokens = sequences * length;
  const size_t n = size_t(tokens) * shape.heads * SsdProblem::kHeadDim;
  const size_t nbc = size_t(tokens) * shape.state_dim;
  const size_t nstate =
      size_t(sequences) * shape.heads * SsdProblem::kHeadDim * shape.state_dim;
  problem.x = DeviceBuffer<__nv_bfloat16>(n);
  problem.y = DeviceBuffer<__nv_bfloat16>(n);
  problem.b = DeviceBuffer<__nv_bfloat16>(nbc);
  problem.c = DeviceBuffer<__nv_bfloat16>(nbc);
  FillNormal(problem.x.data(), n, 1);
  FillNormal(problem.b.data(), nbc, 2);
  FillNormal(problem.c.data(), nbc, 3);
  problem.dt = DeviceBuffer<float>(size_t(tokens) * shape.heads);
  FillNormal(problem.dt.data(), problem.dt.size(), 4);
  problem.initial = DeviceBuffer<float>(std::vector<float>(nstate, 0.5f));
  problem.final_state = DeviceBuffer<float>(nstate);
  std::vector<int32_t> cu;
  for (int i = 0; i <= sequences; ++i) cu.push_back(i * length);
  problem.cu = DeviceBuffer<int32_t>(cu);
  Sm90SsdForwardArgs& args = problem.args;
  args.x = problem.x.data();
  args.y = problem.y.data();
  args.b = problem.b.data();
  args.c = problem.c.data();
  args.dt = problem.dt.data();
  args.initial_state = problem.initial.data();
  args.final_state = problem.final_state.data();
  args.cu_seqlens = problem.cu.data();
  args.sequences = sequences;
  args.tokens = tokens;
  args.max_seqlen = length;
  problem.workspace = DeviceBuffer<uint8_t>(Sm90SsdForwardWorkspace(args));
  args.workspace = problem.workspace.data();
  problem.dy = DeviceBuffer<__nv_bfloat16>(n);
  FillNormal(problem.dy.data(), n, 5);
  const Gradients out(args, problem.dy.data(), problem.initial.data(), n, nbc,
                      nstate);
  const std::string name = " B" + std::to_string(sequences) + " T" +
                           std::to_string(length) + " H64 P64 N128";
  const double steps = 4.0 * tokens * shape.heads;
  TimeBesideCopy(options, report, "ssd",
                 {{"forward" + name, 4.0 * n + 4.0 * nbc + steps,
                   [&](cudaStream_t stream) {
                     INTARSIA_BENCH_CUDA(Sm90SsdForward(args, stream));
                   }},
                  {"backward" + name, 6.0 * n + 8.0 * nbc + 2 * steps,
                   [&](cudaStream_t stream) {
                     INTARSIA_BENCH_CUDA(Sm90SsdBackward(out.args, stream));
                   }}});
}

}  // namespace

void SsdFamily(const Options& options, Report* report) {
  if (options.check) {
    for (const SsdShape& shape : CheckedShapes(options.quick)) {
      CheckForward(options, report, shape);
    }
    for (const SsdShape& shape : CheckedShapes(options.quick)) {
      CheckBackward(options, report, shape);
    }
  }
  if (!options.time) return;
  Time(options, report, 8, 4096);
  if (!options.quick) Time(options, report, 1, 32768);
}

}  // namespace intarsia::bench
