#include "bench/kernels/gpu/driver.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>

namespace intarsia::bench {
namespace {

const std::chrono::steady_clock::time_point kStart =
    std::chrono::steady_clock::now();

__device__ uint32_t Hash(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
  return static_cast<uint32_t>((value ^ (value >> 31)) >> 32);
}

// Box and Muller's transform of two hashed counters.
__global__ void FillNormalKernel(__nv_bfloat16* data, size_t count,
                                 uint64_t seed) {
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    const uint64_t counter = seed * 0x9e3779b97f4a7c15ull + 2 * i;
    const float u = (Hash(counter) + 1.0f) * 0x1p-32f;
    const float v = Hash(counter + 1) * 0x1p-32f;
    data[i] =
        __float2bfloat16_rn(sqrtf(-2 * logf(fminf(u, 1.0f))) * cospif(2 * v));
  }
}

std::string Quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

void CudaCheckFailed(cudaError_t error, const char* what, const char* file,
                     int line) {
  std::fprintf(stderr, "%s:%d: %s: %s\n", file, line, what,
               cudaGetErrorString(error));
  std::fflush(stdout);
  std::_Exit(3);
}

Report::Report(const std::string& path) {
  if (path.empty()) return;
  file_ = std::fopen(path.c_str(), "a");
  if (file_ == nullptr) {
    std::fprintf(stderr, "cannot write %s\n", path.c_str());
    std::_Exit(2);
  }
}

Report::~Report() {
  if (file_ != nullptr) std::fclose(file_);
}

Report::Field Report::Str(std::string name, std::string_view value) {
  return {std::move(name), Quote(value)};
}

Report::Field Report::Num(std::string name, double value) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.6g", value);
  return {std::move(name), std::isfinite(value) ? text : Quote(text)};
}

void Report::Line(const std::vector<Field>& fields) {
  std::string json;
  for (const auto& [name, value] : fields) {
    json += (json.empty() ? "{" : ", ") + Quote(name) + ": " + value;
    const bool quoted = value.front() == '"';
    const std::string shown =
        quoted ? value.substr(1, value.size() - 2) : value;
    std::printf(quoted ? "%s  " : "%s %s  ",
                quoted ? shown.c_str() : name.c_str(), shown.c_str());
  }
  std::printf("\n");
  std::fflush(stdout);
  if (file_ == nullptr) return;
  std::fprintf(file_, "%s}\n", json.c_str());
  std::fflush(file_);
}

std::vector<float> RandomNormal(size_t count, uint64_t seed, float scale) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(engine);
  return values;
}

std::vector<__nv_bfloat16> ToBf16(const std::vector<float>& values) {
  std::vector<__nv_bfloat16> out(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    out[i] = __float2bfloat16_rn(values[i]);
  }
  return out;
}

std::vector<float> ToFloat(const std::vector<__nv_bfloat16>& values) {
  std::vector<float> out(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    out[i] = __bfloat162float(values[i]);
  }
  return out;
}

void FillNormal(__nv_bfloat16* data, size_t count, uint64_t seed) {
  FillNormalKernel<<<1024, 256>>>(data, count, seed);
  INTARSIA_BENCH_CUDA(cudaGetLastError());
}

ErrorNorms Compare(const std::vector<float>& out,
                   const std::vector<double>& reference) {
  double error = 0, norm = 0, largest = 0;
  bool broken = out.size() != reference.size();
  for (size_t i = 0; !broken && i < out.size(); ++i) {
    // Where the reference is infinite (a row that sees no key has the
    // log-sum-exp -inf), equality is asked for.
    if (std::isinf(reference[i])) {
      broken = out[i] != reference[i];
      continue;
    }
    const double difference = out[i] - reference[i];
    broken = !std::isfinite(difference);
    error += difference * difference;
    norm += reference[i] * reference[i];
    largest = std::max(largest, std::fabs(difference));
  }
  const double infinity = std::numeric_limits<double>::infinity();
  if (broken) return {infinity, infinity};
  return {norm > 0 ? std::sqrt(error / norm) : std::sqrt(error), largest};
}

std::vector<Timing> TimeInterleaved(const std::vector<Candidate>& candidates,
                                    const TimingOptions& options) {
  const size_t flush_bytes = 2 * GetDeviceInfo().l2_bytes;
  DeviceBuffer<char> flush(options.flush_l2 ? flush_bytes : 1);
  cudaStream_t stream;
  cudaEvent_t begin, end;
  INTARSIA_BENCH_CUDA(cudaStreamCreate(&stream));
  INTARSIA_BENCH_CUDA(cudaEventCreate(&begin));
  INTARSIA_BENCH_CUDA(cudaEventCreate(&end));
  std::vector<std::vector<double>> times(candidates.size());
  for (int round = -options.warmup; round < options.rounds; ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      const int set = (round + options.warmup) % options.sets;
      // The write also keeps the device busy while the launch is prepared, so
      // that host time stays out of the interval.
      INTARSIA_BENCH_CUDA(
          cudaMemsetAsync(flush.data(), round & 1, flush.size(), stream));
      INTARSIA_BENCH_CUDA(cudaEventRecord(begin, stream));
      candidates[i].launch(stream, set);
      INTARSIA_BENCH_CUDA(cudaEventRecord(end, stream));
      INTARSIA_BENCH_CUDA(cudaGetLastError());
      INTARSIA_BENCH_CUDA(cudaStreamSynchronize(stream));
      float ms = 0;
      INTARSIA_BENCH_CUDA(cudaEventElapsedTime(&ms, begin, end));
      if (round >= 0) times[i].push_back(ms * 1e3);
    }
  }
  INTARSIA_BENCH_CUDA(cudaEventDestroy(begin));
  INTARSIA_BENCH_CUDA(cudaEventDestroy(end));
  INTARSIA_BENCH_CUDA(cudaStreamDestroy(stream));
  std::vector<Timing> timings;
  for (std::vector<double>& t : times) {
    std::sort(t.begin(), t.end());
    timings.push_back({t[t.size() / 2], t.front(), t[t.size() * 9 / 10],
                       static_cast<int>(t.size())});
  }
  return timings;
}

DeviceInfo GetDeviceInfo() {
  cudaDeviceProp properties;
  INTARSIA_BENCH_CUDA(cudaGetDeviceProperties(&properties, 0));
  return {properties.name, properties.multiProcessorCount,
          static_cast<size_t>(properties.l2CacheSize)};
}

double MeasureCopyBandwidth() {
  const size_t bytes = size_t{1} << 31;
  DeviceBuffer<char> from(bytes), to(bytes);
  const auto copy = [&](cudaStream_t stream, int) {
    INTARSIA_BENCH_CUDA(cudaMemcpyAsync(to.data(), from.data(), bytes,
                                        cudaMemcpyDeviceToDevice, stream));
  };
  TimingOptions options;
  options.flush_l2 = false;
  return 2e6 * bytes / TimeInterleaved({{"copy", copy}}, options)[0].median_us;
}

double SecondsSinceStart() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() -
                                       kStart)
      .count();
}

}  // namespace intarsia::bench
