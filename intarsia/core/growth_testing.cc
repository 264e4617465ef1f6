#include "intarsia/core/growth_testing.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace {

std::atomic<size_t> live{0};
std::atomic<size_t> peak{0};

void* Count(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  const size_t now = live += ::malloc_usable_size(memory);
  size_t most = peak;
  while (now > most && !peak.compare_exchange_weak(most, now)) {
  }
  return memory;
}

void Uncount(void* memory) {
  if (memory == nullptr) return;
  live -= ::malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(size_t bytes) { return Count(std::malloc(bytes)); }
// Temporary buffers of algorithms come by this one, and go by the plain delete.
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  void* memory = std::malloc(bytes);
  return memory == nullptr ? nullptr : Count(memory);
}
void* operator new(size_t bytes, std::align_val_t align) {
  const auto multiple = static_cast<size_t>(align);
  return Count(std::aligned_alloc(
      multiple, (bytes + multiple - 1) / multiple * multiple));
}
void operator delete(void* memory) noexcept { Uncount(memory); }
void operator delete(void* memory, size_t) noexcept { Uncount(memory); }
void operator delete(void* memory, std::align_val_t) noexcept {
  Uncount(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  Uncount(memory);
}

namespace intarsia {
namespace {

double ThreadSeconds() {
  struct timespec now {};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) +
         1e-9 * static_cast<double>(now.tv_nsec);
}

double SecondsOf(const std::function<void()>& work) {
  const double begin = ThreadSeconds();
  work();
  return ThreadSeconds() - begin;
}

}  // namespace

size_t PeakHeap(const std::function<void()>& work) {
  const size_t before = live;
  peak = before;
  work();
  return peak - before;
}

void ExpectLinear(const std::string& name,
                  const std::function<std::string(size_t bytes)>& make,
                  const std::function<void(const std::string&)>& read,
                  GrowthLimits limits) {
  SCOPED_TRACE(name);
  const std::string small = make(limits.bytes);
  const std::string large = make(4 * limits.bytes);
  const double scale =
      static_cast<double>(large.size()) / static_cast<double>(4 * small.size());
  double memory = 0;
  double small_seconds = SecondsOf([&] { read(small); });
  double large_seconds = SecondsOf([&] {
    memory = static_cast<double>(PeakHeap([&] { read(large); })) /
             static_cast<double>(large.size());
  });
  // What takes under a tenth of a second grows as it likes.
  const auto ratio = [&] { return large_seconds / small_seconds / scale; };
  for (int again = 0;
       again < 3 && ratio() > limits.ratio && large_seconds > 0.1; ++again) {
    small_seconds = std::min(small_seconds, SecondsOf([&] { read(small); }));
    large_seconds = std::min(large_seconds, SecondsOf([&] { read(large); }));
  }
  std::printf("%-44s %6.0f ms/MB  x%4.1f  %5.1f bytes a byte\n", name.c_str(),
              large_seconds * 1e9 / static_cast<double>(large.size()), ratio(),
              memory);
  EXPECT_LE(memory, limits.memory) << "heap at its peak a byte of the input";
  EXPECT_LE(large_seconds, limits.seconds);
  if (large_seconds > 0.1) {
    EXPECT_LE(ratio(), limits.ratio)
        << small_seconds << " s for " << small.size() << " bytes, "
        << large_seconds << " s for " << large.size();
  }
}

std::string Repeated(const std::string& head, const std::string& item,
                     const std::string& tail, size_t bytes,
                     const std::string& between) {
  std::string out = head;
  for (size_t i = 0; out.size() < bytes; ++i) {
    if (i > 0) out += between;
    for (const char c : item) {
      if (c == '#') {
        out += std::to_string(i);
      } else {
        out += c;
      }
    }
  }
  return out + tail;
}

}  // namespace intarsia
