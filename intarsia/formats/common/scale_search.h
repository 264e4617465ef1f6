// Finding scales for blocks: weighted least squares over candidates, then over
// the codes that the candidates give. What quantised formats with a choice of
// scale share. Results are the same bits in every build.
//
// All arrays are of finite numbers, groups are of 16 or 32 numbers, and w[i] is
// what the square of number i's error costs.
#pragma once

#include <cstdint>

namespace intarsia::formats {

// What a code can stand for: the integers lo..hi, or the 16 rising numbers of a
// table.
struct CodeSet {
  int lo = 0, hi = 0;
  const int8_t* table = nullptr;
};

// What an error of each number costs. With an importance matrix that times
// sqrt(x² + mean x²), so that large numbers keep some weight of their own;
// without one |x| + the root of mean x², a compromise between the error in the
// numbers and that in products.
void ErrorCosts(const float* x, const float* importance, int n, float* w);

// The scale of x ≈ scale · code with about the least Σ w error².
float FitScale(const CodeSet& set, const float* x, const float* w, int n);

// The nearest codes for a given scale (table: indices). Returns Σ w error².
float NearestCodes(const CodeSet& set, const float* x, const float* w, int n,
                   float scale, int8_t* codes);

// FitScale's, as fp16 keeps it, or where that costs less `plain`: a search that
// starts from what is usual and can only gain.
float FitStoredScale(const CodeSet& set, const float* x, const float* w, int n,
                     float plain);

// x ≈ scale · code + minimum with codes 0..hi, scale ≥ 0; minimum ≤ 0 unless
// `free_minimum`.
struct LinearFit {
  float scale = 0, minimum = 0;
};
LinearFit FitLinear(int hi, const float* x, const float* w, int n,
                    bool free_minimum);
float NearestCodes(int hi, const float* x, const float* w, int n, LinearFit fit,
                   int8_t* codes);
// FitLinear's with a free minimum, or where that costs less `plain`; fp16.
LinearFit FitStoredLinear(int hi, const float* x, const float* w, int n,
                          LinearFit plain);

// 256 numbers in groups: x ≈ d · scales[group] · code, d a number of fp16.
struct ScaledBlock {
  float d = 0;
  int8_t scales[16];
  int8_t codes[256];
};
void FitScaledBlock(const CodeSet& set, int group, int scale_lo, int scale_hi,
                    const float* x, const float* w, ScaledBlock* out);

// x ≈ d · scales[group] · code - dmin · minima[group], codes 0..hi.
struct LinearBlock {
  float d = 0, dmin = 0;
  uint8_t scales[16], minima[16];
  int8_t codes[256];
};
void FitLinearBlock(int hi, int group, int scale_hi, const float* x,
                    const float* w, LinearBlock* out);

}  // namespace intarsia::formats
