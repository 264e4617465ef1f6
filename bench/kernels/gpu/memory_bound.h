// Shared by the families of kernels that device memory bounds: checks against
// fp64 references, and timing beside a device-to-device copy in the same run.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/kernels/gpu/driver.h"

namespace intarsia::bench {

// Compares, reports one line and counts a failure if the relative error norm
// exceeds the tolerance.
void CheckClose(Report* report, const std::string& family,
                const std::string& name, const std::vector<float>& out,
                const std::vector<double>& reference, double tolerance);

// Reports and counts a condition that must hold.
void CheckTrue(Report* report, const std::string& family,
               const std::string& name, bool holds);

// True if an entry of this name is wanted.
bool Wanted(const Options& options, const std::string& name);

// Standard normal values for timing, in fp32: pairs of bf16 normals, of which
// the upper one makes the value and the lower one its last bits.
void FillNormal(float* data, size_t count, uint64_t seed);

struct BandwidthCase {
  std::string name;
  double bytes = 0;  // that one launch must move: inputs once, outputs once
  std::function<void(cudaStream_t stream)> launch;
};

// Times the cases in turn with a copy of 1 GiB, each several times between two
// events (so that a launch's own latency does not count), and reports the
// median time, the rate and its share of the copy's.
void TimeBesideCopy(const Options& options, Report* report,
                    const std::string& family,
                    const std::vector<BandwidthCase>& cases);

// All values converted to double.
std::vector<double> ToDouble(const std::vector<float>& values);
// Rounded to bf16 and back: what a kernel that reads bf16 is given.
std::vector<float> RandomBf16(size_t count, uint64_t seed, float scale = 1);

double SiluReference(double x);
double SoftplusReference(double x);

}  // namespace intarsia::bench
