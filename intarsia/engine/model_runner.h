// ModelRunner: a model, its pools and its threads; runs batches of sequences
// and keeps their state between calls.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "intarsia/cache/pool.h"
#include "intarsia/core/context.h"
#include "intarsia/core/status.h"
#include "intarsia/model/model.h"

namespace intarsia {

class SavedSequence;

class ModelRunner {
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
  ~ModelRunner();

  // A fresh sequence's slot, or -1 when all are taken.
  int Open();
  void Close(int slot) { pool_.Release(slot); }
  int64_t length(int slot) const { return pool_.length(slot); }

  // Tokens to append to the sequence in `slot`.
  struct Segment {
    int slot = 0;
    std::span<const int32_t> tokens;
    // Tokens that the sequence will have when what follows in later calls has
    // run: rotations by length (ops/rope) are those of the whole. 0: it ends
    // here.
    int64_t total = 0;
  };
  // Runs all segments (each slot at most once, each at least one token) and
  // returns, on the host, the logits after each segment's last token, [N, V];
  // with `all_rows` after every token, in the order of the segments. Long
  // segments run in chunks cut at absolute multiples of prefill_chunk. Fails,
  // with nothing run, when a token id, the context or the pool is exceeded. A
  // sequence that grows past Model::state_ends runs again from its first token.
  // `cancelled`, when given, is asked before each chunk but the first; true
  // ends the call with an undefined tensor, and length() tells what has run.
  Result<Tensor> Run(const std::vector<Segment>& segments,
                     bool all_rows = false,
                     const std::function<bool()>& cancelled = nullptr);

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
  // Decode steps of `sequences` that ran from a recorded graph (GPU).
  int64_t graph_launches() const { return graph_launches_; }

 private:
  struct Graph;
  // What a slot's state was computed from.
  struct Sequence {
    int64_t total = 0;            // Batch::lengths of its last run
    std::vector<int32_t> tokens;  // kept where the model's state may end
  };
  // A segment as it runs: from the first token again where state has ended.
  struct Piece {
    int slot = 0;
    std::vector<int32_t> again;
    std::span<const int32_t> tokens;
    size_t known = 0;  // the first tokens of `again`, without wanted rows
  };
  Result<std::vector<Piece>> Begin(const std::vector<Segment>& segments);
  Status Check(const std::vector<Segment>& segments);
  // One batch; the logits of `rows` go to the device's memory.
  Tensor RunBatch(Batch* batch, std::span<const int32_t> rows);
  Tensor RunDecodeGraph(const Batch& batch);
  Tensor Forward(const Batch& batch, ModelState* state,
                 std::span<const int32_t> rows);

  const Model& model_;
  Options options_;
  ThreadPool threads_;
  StatePool pool_;
  std::vector<Sequence> sequences_;  // by slot
  // By sequences and Batch::kv_capacity.
  std::map<std::pair<int64_t, int64_t>, std::unique_ptr<Graph>> graphs_;
  int64_t graph_launches_ = 0;
  std::string identity_;
};

}  // namespace intarsia
