// Products with prepared activations: each row of X is brought once into the
// form that the CPU's dot-product instructions take, then meets rows of W as
// they are stored (few rows of X) or panels of them (many). Both sum alike.
#pragma once

#include <cstddef>
#include <cstdint>

namespace intarsia::formats {

// y[m, n] = prepared row m · row n of W (+ bias[n]), on this thread.
struct PreparedArgs {
  const std::byte* x = nullptr;  // prepared rows, one after the other
  size_t x_stride = 0;           // in bytes
  const std::byte* w = nullptr;  // stored rows, or a panel
  size_t w_stride = 0;           // in bytes; unused by panels
  float* y = nullptr;
  int64_t y_stride = 0;  // in floats
  int64_t m = 0, n = 0, k = 0;
  const float* bias = nullptr;

  // Of panel_dot alone.
  std::byte* scratch = nullptr;  // scratch_bytes(m, k), aligned to 64
  // The panel that this thread reads next, which the kernel may ask for while
  // it computes; null: none. `cold`: nobody asked for this one.
  const std::byte* next = nullptr;
  bool cold = true;
};

// One format on one family of CPUs.
struct PreparedKernels {
  size_t (*x_bytes)(int64_t k);  // of a prepared row, a multiple of 64
  void (*prepare)(const float* x, int64_t k, std::byte* out);
  void (*dot)(const PreparedArgs& args) = nullptr;  // any m and n

  // From this many rows of X on, panels of W pay. 0: never; 1: always, `dot`
  // may be null.
  int64_t panel_from = 0;
  int64_t panel_rows = 0;  // rows of W in a panel
  size_t (*panel_bytes)(int64_t k) = nullptr;
  // `rows` ≤ panel_rows stored rows; the others of the panel become zeros.
  void (*pack)(const std::byte* w, size_t w_stride, int64_t rows, int64_t k,
               std::byte* panel) = nullptr;
  void (*panel_dot)(const PreparedArgs& args) = nullptr;    // n ≤ panel_rows
  size_t (*scratch_bytes)(int64_t m, int64_t k) = nullptr;  // null: none
  // Panels are a form to keep weights in (packing.h): about as large as stored
  // rows, and fast for any number of rows of X.
  bool packs = false;
};

}  // namespace intarsia::formats
