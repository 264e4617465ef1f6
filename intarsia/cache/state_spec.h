// StateSpec: all that pools, admission, prefix reuse, save and restore ever
// learn about a primitive. KV is not special.
#pragma once

#include <cstdint>
#include <string>

#include "intarsia/core/tensor.h"

namespace intarsia {

struct StateSpec {
  enum class Role : uint8_t { kKey, kValue, kLatent, kConv, kMatrix, kShift };
  // kSequence: one entry a sequence, updated in place. kToken: one entry a
  // token. kSelected: one entry for some tokens, at most `bound` of them.
  enum class Growth : uint8_t { kSequence, kToken, kSelected };
  // What undoes n tokens: entries dropped, a snapshot restored, or the tokens
  // run again from one.
  enum class Rollback : uint8_t { kTruncate, kSnapshot, kReplay };

  std::string name;  // within its room: "k", "v", "conv", "ssm"
  Role role = Role::kMatrix;
  Shape shape;  // of one entry
  // Per-sequence state is fp32; per-token state takes the pool's dtype.
  Growth growth = Growth::kSequence;
  int64_t bound = 0;
  // Of a kToken state, entries that any later token can still read: the first
  // keep_first and the last keep_last; 0, 0 keeps all.
  int64_t keep_first = 0;
  int64_t keep_last = 0;
  float init = 0.0f;  // a slot's value when it is handed out
  Rollback rollback = Rollback::kSnapshot;
  int owner_block = -1;  // ≥ 0: another block's state, shared
  int shard_axis = -1;   // of shape; -1: a copy on every rank
};

}  // namespace intarsia
