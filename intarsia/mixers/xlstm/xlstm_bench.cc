#include "intarsia/mixers/common/mixer_bench.h"
#include "intarsia/mixers/xlstm/xlstm.h"

namespace intarsia::bench {

// A quarter of the width of xLSTM-7B's, with heads half as wide.
std::vector<KernelBench> xlstm(bool quick) {
  const int heads = quick ? 2 : 4, keys = quick ? 8 : 128, values = 2 * keys;
  return MixerRows(
      {.room = "xlstm",
       .create = &CreateXlstm,
       .config = R"({"heads": )" + std::to_string(heads) + R"(, "key_dim": )" +
                 std::to_string(keys) + R"(, "value_dim": )" +
                 std::to_string(values) + "}",
       .dim = heads * values,
       .core_flops = [=](double) { return 5.0 * heads * keys * values; }},
      quick);
}

}  // namespace intarsia::bench
