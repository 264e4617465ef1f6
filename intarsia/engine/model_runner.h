// ModelRunner: a model, its pools and its threads; runs steps of sequences and
// keeps their state between calls.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "intarsia/cache/pool.h"
#include "intarsia/cache/prefix_index.h"
#include "intarsia/core/context.h"
#include "intarsia/core/status.h"
#include "intarsia/engine/runner.h"
#include "intarsia/model/model.h"

namespace intarsia {

class SavedSequence;

// What a step computed.
struct StepResult {
  std::vector<StepToken> tokens;  // of all samplers, pieces in order
  // Of the pieces that want them, in order: [rows, V] on the runner's device,
  // undefined when none does; valid until the next step.
  Tensor logits;
};

class ModelRunner : public Runner {
 public:
  struct Options {
    int threads = 0;                   // 0: all this process may use
    bool pin = false;                  // threads to processors, see ThreadPool
    int sequences = 1;                 // most at a time
    int64_t context = 4096;            // most tokens a sequence
    DType token_dtype = DType::kBF16;  // of per-token state; i8 on a CPU too
    int64_t state_bytes = 0;           // most that state takes; 0: as needed
    // Tokens of a sequence in one batch; 0: 512, and 8192 on a GPU.
    int64_t prefill_chunk = 0;
    // Most bytes that sequences which ran before hold, for those that begin
    // alike: pages of the pool, and copies beside it of the states of one
    // entry. 0: nothing is kept; kOneConversation: the pool's pages and copies
    // of four sequences.
    int64_t prefix_bytes = 0;
    static constexpr int64_t kOneConversation = -1;
    // Most bytes of host memory for sequences that others displace.
    int64_t swap_bytes = int64_t{1} << 30;
    DType dtype = DType::kF32;       // of activations (Context::dtype)
    KernelReport* report = nullptr;  // must outlive the runner
    Device device;
    // Of the ranks that share the work; `model` is then this rank's part
    // (model/shard.h), and all ranks make the same calls.
    Communicator* tensor_parallel = nullptr;
    Form form = Form::kAuto;
    int chunk = 0;
  };
  // `model` must outlive the runner and its weights be on options.device. A
  // model with learned positions has no context past them: options() says what
  // holds.
  ModelRunner(const Model& model, const Options& options);
  ~ModelRunner() override;

  int Open() override;
  void Close(int slot) override { pool_.Release(slot); }
  int64_t length(int slot) const override { return pool_.length(slot); }
  int Fork(int slot) override;
  bool Reserve(int slot, int64_t tokens) override;
  Status Check(std::span<const int32_t> tokens, int64_t end) const override;

  int64_t SwapOut(int slot) override;
  int SwapIn(int64_t ticket) override;
  void Drop(int64_t ticket) override;

  PrefixMatch Resume(int slot, const PrefixKey& key, int64_t total,
                     Reuse reuse) override;
  int64_t Peek(const PrefixKey& key, int64_t total, Reuse reuse) const override;
  void Remember(int slot, const PrefixKey& key) override;
  bool Forget() override { return prefixes_ != nullptr && prefixes_->Evict(); }
  void ForgetAll() {
    while (Forget()) continue;
  }
  int64_t idle_bytes() const override {
    return prefixes_ != nullptr ? prefixes_->idle_bytes() : 0;
  }
  const PrefixIndex* prefixes() const { return prefixes_.get(); }

  int free_slots() const override { return pool_.free_slots(); }
  int64_t BytesFor(int64_t tokens) const override {
    return pool_.PageBytesFor(tokens);
  }
  int64_t free_bytes() const override { return pool_.free_page_bytes(); }
  int64_t total_bytes() const override { return pool_.page_bytes(); }

  // One batch of all pieces, of at most prefill_chunk tokens (or kGrid) each:
  // of prompts and of sequences that decode, mixed as the plan says. Fails,
  // with nothing run and nothing reserved, when a token id, the context or the
  // pool is exceeded. On a CPU each sequence's bits are those of the sequence
  // alone. A sequence that grows past Model::state_ends runs again from its
  // first token, before the batch.
  Result<StepResult> Step(const StepPlan& plan);
  Result<std::vector<StepToken>> Tokens(const StepPlan& plan) override;

  // Tokens to append to the sequence in `slot`; total as StepPiece::total.
  struct Segment {
    int slot = 0;
    std::span<const int32_t> tokens;
    int64_t total = 0;
  };
  // Runs all segments (each slot at most once, each at least one token) to
  // their ends and returns, on the host, the logits after each segment's last
  // token, [N, V]; with `all_rows` after every token, in the order of the
  // segments. Long segments run in steps cut at absolute multiples of
  // prefill_chunk. Fails as a step does.
  Result<Tensor> Run(const std::vector<Segment>& segments,
                     bool all_rows = false);

  // A sequence's state to and from a file (session_file.h). Restoring into
  // another model or state dtype fails. Bitwise the same sequence. After an
  // error the slot is to be closed.
  Status Save(int slot, const std::string& path);
  Status Restore(int slot, const std::string& path);
  Status Restore(int slot, const SavedSequence& saved);  // of this model
  // The model's (model_identity.h), computed once.
  const std::string& Identity();

  StatePool& pool() { return pool_; }
  ThreadPool& threads() { return threads_; }
  const Model& model() const { return model_; }
  const Options& options() const { return options_; }
  // Decode steps that ran from a recorded graph (GPU).
  int64_t graph_launches() const { return graph_launches_; }
  // A decode step of so many sequences runs with the next power of two, so that
  // few graphs serve all numbers; the rest is padding.
  static int64_t Bucket(int64_t sequences, int64_t most);
  // Appends so many segments of padding: token 0 at position 0, slot -1. Their
  // state starts from its init value and goes nowhere, their rows hold any
  // finite numbers.
  static void Pad(int64_t segments, Batch* batch);

 private:
  struct Graph;
  // What a slot's state was computed from.
  struct Kept {
    int64_t total = 0;            // Batch::lengths of its last run
    std::vector<int32_t> tokens;  // kept where the model's state may end
    int64_t reserved = 0;         // tokens that have memory
    int64_t before_step = 0;      // what `reserved` was, while a step reserves
  };
  struct Swapped {
    Kept kept;
    std::vector<StatePool::Saved> state;
    int64_t length = 0, bytes = 0;
  };
  int64_t EraOf(int64_t total) const;
  bool PastTrained(int64_t total) const;
  Status CheckPlan(const StepPlan& plan) const;
  Status ReserveAll(const StepPlan& plan);
  std::vector<int32_t> RunAgain(const StepPiece& piece);
  void Append(std::span<const int32_t> tokens, int slot, Batch* batch) const;
  void Advance(const Batch& batch);
  Tensor WithoutSampled(const std::vector<int64_t>& sampled,
                        const Tensor& logits);
  std::vector<StepToken> Sample(const StepPlan& plan,
                                const std::vector<int64_t>& sampled,
                                const Tensor& logits);
  // The same where all samplers are greedy and the logits are on a GPU: only
  // tokens come to the host.
  std::vector<StepToken> SampleThere(const StepPlan& plan,
                                     const std::vector<int64_t>& sampled,
                                     const Tensor& logits);
  // One batch; the logits of `rows` are on the device.
  Tensor RunBatch(Batch* batch, std::span<const int32_t> rows);
  Tensor RunDecodeGraph(Batch batch);
  Tensor Forward(const Batch& batch, ModelState* state,
                 std::span<const int32_t> rows);

  const Model& model_;
  Options options_;
  ThreadPool threads_;
  StatePool pool_;
  std::unique_ptr<PrefixIndex> prefixes_;  // null: nothing is kept
  std::vector<Kept> kept_;                 // by slot
  // By sequences and Batch::kv_capacity.
  std::map<std::pair<int64_t, int64_t>, std::unique_ptr<Graph>> graphs_;
  int64_t graph_launches_ = 0;
  std::map<int64_t, Swapped> swapped_;  // by ticket
  int64_t next_ticket_ = 0, swapped_bytes_ = 0;
  std::string identity_;
};

}  // namespace intarsia
