#include "intarsia/eval/throughput.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "intarsia/cache/state_layout.h"
#include "intarsia/engine/model_runner.h"
#include "intarsia/model/state_specs.h"

namespace intarsia {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

std::vector<int32_t> RandomTokens(int64_t n, int vocab, uint64_t stream) {
  Random random(1, stream);
  std::vector<int32_t> tokens(n);
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(random.NextBelow(vocab));
  }
  return tokens;
}

// Bytes that one decode step reads: every weight once (the embedding only when
// it is the head), and the state of each sequence.
double StepBytes(const Model& model, const ThroughputOptions& options,
                 int sequences, double depth) {
  double bytes = 0;
  for (const std::string& path : model.paths()) {
    if (path == "positions") continue;
    if (path == "embedding" && !model.config().tied_head) continue;
    const Weight& weight = *model.Find(path);
    bytes += static_cast<double>(weight.packed() != nullptr
                                     ? weight.packed()->nbytes()
                                     : weight.values().nbytes());
  }
  const auto layout = StateLayout::Make(StateSpecs(model),
                                        {.token_dtype = options.token_dtype});
  CHECK(layout.ok()) << layout.status().message();
  for (const StateLayout::Store& store : layout->stores) {
    double entries = 1;
    if (store.group >= 0) {
      const StateLayout::Group& group = layout->groups[store.group];
      entries = depth / static_cast<double>(group.stride);
      if (group.windowed()) {
        entries = std::min(
            entries, static_cast<double>(group.keep_first + group.keep_last));
      }
    }
    bytes += entries * static_cast<double>(store.entry_bytes) * sequences;
  }
  return bytes;
}

class Bench {
 public:
  Bench(const Model& model, const ThroughputOptions& options)
      : model_(model), options_(options) {}

  Result<ThroughputRow> Prefill(int prompt, int depth) {
    ThroughputRow row{.test = "pp" + std::to_string(prompt),
                      .depth = depth,
                      .tokens = prompt};
    RETURN_IF_ERROR(Repeat(
        1, depth, prompt, &row, [&](ModelRunner& runner, const auto& slots) {
          const auto tokens =
              RandomTokens(prompt, model_.config().vocab_size, 2);
          return runner.Run({{slots[0], tokens}}).status();
        }));
    return row;
  }

  Result<ThroughputRow> Decode(int sequences, int depth) {
    const int steps = options_.generate;
    ThroughputRow row{.test = "tg" + std::to_string(steps),
                      .sequences = sequences,
                      .depth = depth,
                      .tokens = int64_t{steps} * sequences};
    RETURN_IF_ERROR(Repeat(sequences, depth, steps, &row,
                           [&](ModelRunner& runner, const auto& slots) {
                             return Step(runner, slots, steps);
                           }));
    if (options_.device.is_cpu()) {
      const double bytes =
          StepBytes(model_, options_, sequences, depth + steps * 0.5);
      row.bytes_per_second = bytes * row.median / sequences;
    }
    return row;
  }

  // Before anything is measured.
  Status Check() const {
    for (const int depth : options_.depths) {
      for (const int prompt : options_.prompts) {
        if (prompt > 0) RETURN_IF_ERROR(CheckPositions(depth, prompt, "-p"));
      }
      if (options_.generate > 0) {
        RETURN_IF_ERROR(CheckPositions(depth, options_.generate, "-n"));
      }
    }
    return Status::Ok();
  }

 private:
  Status Step(ModelRunner& runner, const std::vector<int>& slots, int steps) {
    std::vector<int32_t> next(slots.size(), 0);
    Sampler greedy({.temperature = 0});
    for (int i = 0; i < steps; ++i) {
      std::vector<ModelRunner::Segment> segments;
      StepPlan plan;
      for (size_t s = 0; s < slots.size(); ++s) {
        next[s] =
            static_cast<int32_t>((i * 31 + s * 7) % model_.config().vocab_size);
        segments.push_back({slots[s], {&next[s], 1}});
        plan.push_back({.slot = slots[s],
                        .tokens = {&next[s], 1},
                        .want = StepPiece::Want::kTokens,
                        .samplers = {&greedy}});
      }
      // A GPU chooses the tokens, so that no logits cross the bus; on a CPU
      // they are where a sampler reads them.
      RETURN_IF_ERROR(options_.device.is_cuda()
                          ? runner.Tokens(plan).status()
                          : runner.Run(segments).status());
    }
    return Status::Ok();
  }

  // A table of positions has an end.
  Status CheckPositions(int depth, int more, const char* flag) const {
    const int64_t limit = model_.config().position_limit();
    const int64_t tokens = int64_t{depth} + more;
    if (limit == 0 || tokens <= limit) return Status::Ok();
    return InvalidArgument("[bench] -d " + std::to_string(depth) + " and " +
                           flag + " " + std::to_string(more) + " make " +
                           std::to_string(tokens) +
                           " tokens, the model has learned positions for " +
                           std::to_string(limit) + "; give less of either");
  }

  // Fills sequences to `depth`, then times `work`; the first run warms up.
  template <typename Work>
  Status Repeat(int sequences, int depth, int more, ThroughputRow* row,
                const Work& work) {
    ModelRunner::Options runner_options;
    runner_options.threads = options_.threads;
    runner_options.pin = options_.pin;
    runner_options.sequences = sequences;
    runner_options.context = depth + more;
    runner_options.device = options_.device;
    runner_options.token_dtype = options_.token_dtype;
    runner_options.dtype = options_.dtype;
    runner_options.report = options_.report;
    ModelRunner runner(model_, runner_options);
    std::vector<double> rates;
    for (int r = -1; r < options_.repeats; ++r) {
      std::vector<int> slots;
      for (int s = 0; s < sequences; ++s) {
        slots.push_back(runner.Open());
        if (depth == 0) continue;
        const auto context =
            RandomTokens(depth, model_.config().vocab_size, 100 + s);
        RETURN_IF_ERROR(runner.Run({{slots.back(), context}}).status());
      }
      const auto start = Clock::now();
      RETURN_IF_ERROR(work(runner, slots));
      if (r >= 0) {
        rates.push_back(static_cast<double>(row->tokens) / Seconds(start));
      }
      for (int slot : slots) runner.Close(slot);
    }
    row->median = Median(rates);
    row->low = *std::ranges::min_element(rates);
    row->high = *std::ranges::max_element(rates);
    return Status::Ok();
  }

  const Model& model_;
  const ThroughputOptions& options_;
};

}  // namespace

double MeasureReadBandwidth(int threads) {
  ThreadPool pool(threads);
  constexpr int64_t kBytes = int64_t{256} << 20;
  constexpr int64_t kPieces = 64;
  std::vector<uint64_t> buffer(kBytes / 8);
  std::iota(buffer.begin(), buffer.end(), 1);
  std::vector<uint64_t> sums(kPieces);
  double best = 0;
  for (int pass = 0; pass < 6; ++pass) {
    const auto start = Clock::now();
    pool.Run(kPieces, [&](int64_t piece) {
      const int64_t n = static_cast<int64_t>(buffer.size()) / kPieces;
      const uint64_t* p = buffer.data() + piece * n;
      uint64_t a = 0, b = 0, c = 0, d = 0;
      for (int64_t i = 0; i + 4 <= n; i += 4) {
        a ^= p[i];
        b ^= p[i + 1];
        c ^= p[i + 2];
        d ^= p[i + 3];
      }
      sums[piece] = a ^ b ^ c ^ d;
    });
    best = std::max(best, static_cast<double>(kBytes) / Seconds(start));
  }
  // The sums must look used.
  if (std::accumulate(sums.begin(), sums.end(), uint64_t{0}) == 42) best += 1;
  return best;
}

Result<std::vector<ThroughputRow>> MeasureThroughput(
    const Model& model, const ThroughputOptions& options,
    const std::function<void(const ThroughputRow&)>& done) {
  Bench bench(model, options);
  RETURN_IF_ERROR(bench.Check());
  std::vector<ThroughputRow> rows;
  auto keep = [&](Result<ThroughputRow> row) -> Status {
    if (!row.ok()) return row.status();
    rows.push_back(*row);
    if (done) done(rows.back());
    return Status::Ok();
  };
  for (int depth : options.depths) {
    for (int prompt : options.prompts) {
      if (prompt > 0) RETURN_IF_ERROR(keep(bench.Prefill(prompt, depth)));
    }
    for (int sequences : options.sequences) {
      if (options.generate > 0) {
        RETURN_IF_ERROR(keep(bench.Decode(sequences, depth)));
      }
    }
  }
  return rows;
}

}  // namespace intarsia
