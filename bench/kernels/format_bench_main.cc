// format_bench [threads] [format]
#include <cstdio>
#include <cstdlib>

#include "bench/kernels/format_bench.h"

int main(int argc, char** argv) {
  intarsia::ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  const auto timings =
      intarsia::bench::TimeFormats(pool, 0.2, argc > 2 ? argv[2] : "");
  std::fputs(intarsia::bench::ToTable(timings).c_str(), stdout);
}
