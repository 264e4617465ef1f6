// How the time and the memory of a reader grow with its input, for tests.
//
// A reader that is linear takes four times as long for four times the bytes;
// one that is quadratic sixteen times, which no fuzzer that stops at a kilobyte
// can see. The test program links growth_testing.cc, which counts the bytes
// that `new` hands out.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace intarsia {

struct GrowthLimits {
  // Of the largest input: heap at the worst moment, over the input's bytes.
  double memory = 8;
  // Time for 4 MB over time for 1 MB. 4 by nature; caches add to it.
  double ratio = 8;
  double seconds = 20;             // of CPU, for 4 MB, under a sanitizer too
  size_t bytes = size_t{1} << 20;  // of the smaller input
};

// Reads inputs of 1 and 4 MB (limits.bytes, and four times that) and fails the
// test where time or memory grow past the limits. `make` gives an input of
// about that many bytes; `read` reads it, and lets go of all that it made.
// Prints the figures. The time is of this thread's CPU; a ratio past the limit
// is measured again, three times at most, and the smallest of each size counts.
void ExpectLinear(const std::string& name,
                  const std::function<std::string(size_t bytes)>& make,
                  const std::function<void(const std::string&)>& read,
                  GrowthLimits limits = {});

// The most bytes that `new` has handed out at a time during `work`, less those
// before it.
size_t PeakHeap(const std::function<void()>& work);

// `head`, as many numbered copies of `item` as reach `bytes`, `tail`: each "#"
// of the item becomes the copy's number, and commas stand between them.
std::string Repeated(const std::string& head, const std::string& item,
                     const std::string& tail, size_t bytes,
                     const std::string& between = ",");

}  // namespace intarsia
