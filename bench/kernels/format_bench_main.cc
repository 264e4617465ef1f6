// format_bench [threads] [format]
#include <cstdio>
#include <cstdlib>

#include "bench/kernels/format_bench.h"
#include "intarsia/formats/common/matmul.h"

int main(int argc, char** argv) {
  intarsia::ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  std::printf("%s, %d threads\n", intarsia::formats::SimdTargetName(),
              pool.size());
  const auto timings =
      intarsia::bench::TimeFormats(pool, 0.2, argc > 2 ? argv[2] : "");
  std::fputs(intarsia::bench::ToTable(timings).c_str(), stdout);
}
