// StateSpec: what a primitive keeps between tokens, as data. Pools, admission,
// prefix reuse, saving and restoring know nothing else of it. Keys and values
// are not special.
#pragma once

#include <cstdint>
#include <string>

#include "intarsia/core/tensor.h"

namespace intarsia {

struct StateSpec {
  enum class Role : uint8_t { kKey, kValue, kLatent, kConv, kMatrix, kShift };
  // kSequence: one entry a sequence, updated in place. kToken: one entry every
  // `stride` tokens. kSelected: one entry for some tokens, at most `bound` of
  // them.
  enum class Growth : uint8_t { kSequence, kToken, kSelected };
  // What undoes tokens. kTruncate: entries are dropped. kSnapshot: a snapshot
  // of exactly that length is restored. kReplay: any earlier snapshot is
  // restored, and the tokens after it run again.
  enum class Rollback : uint8_t { kTruncate, kSnapshot, kReplay };

  std::string name;  // within its room: "k", "v", "conv", "ssm"
  Role role = Role::kMatrix;
  Shape shape;  // of one entry
  // f32: numbers; an entry a sequence is f32 in the pool, one a token takes the
  // pool's format. i32: integers, kept as they are.
  DType dtype = DType::kF32;
  Growth growth = Growth::kSequence;
  int64_t stride = 1;
  int64_t bound = 0;
  // Of a kToken state, entries that any later token can still read: the first
  // keep_first and the last keep_last; keep_last 0 keeps all.
  int64_t keep_first = 0;
  int64_t keep_last = 0;
  float init = 0.0f;  // a slot's value when it is handed out
  Rollback rollback = Rollback::kSnapshot;
  // ≥ 0: the state of this name of an earlier sublayer, by its place in the
  // model's list of states, which both read and write.
  int owner = -1;
  // Axis of `shape` that tensor parallelism cuts; -1: a copy on every rank.
  int shard_axis = -1;
};

}  // namespace intarsia
