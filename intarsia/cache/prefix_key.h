// What a beginning of a sequence is known by, and what was found of one. Plain
// data without tensors: schedulers read it too.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace intarsia {

// Which stored states a sequence may go on from.
enum class Reuse : uint8_t {
  kNone,
  // Those that its own run would have, bit for bit: what ran in the same
  // pieces.
  kExact,
  // Also those of tokens that ran one by one, or in other pieces: they agree
  // as far as rounding goes.
  kAll,
};

struct PrefixKey {
  std::span<const int32_t> tokens = {};
  // Ascending: where a piece of the run ended off the grid of positions whose
  // cuts change no bit (Runner::kGrid).
  std::span<const int64_t> cuts = {};
  // The first tokens that ran in pieces cut there and on the grid alone.
  int64_t exact = 0;
  // States of unlike eras never serve each other (rotations by length).
  int64_t era = 0;
};

struct PrefixMatch {
  // Why no more of a prompt was found.
  enum class Why : uint8_t {
    kOff,       // nobody looks: reuse is off, or there is no index
    kWhole,     // all that could be was
    kUnknown,   // nothing stored begins like it
    kDiverged,  // what is stored differs from token `common` on, or ends there
    kNoState,   // it shares `common` tokens and has its state elsewhere
    kCuts,      // it shares `common` tokens, which ran in other pieces
    kLength,    // positions past the trained length turn by the whole length
    kEvicted,   // `common` tokens were stored, and lost to others
  };
  int64_t tokens = 0;  // that need not run
  int64_t common = 0;  // the longest beginning that anything stored shares
  int64_t exact = 0;   // of `tokens`, those as PrefixKey::exact
  Why why = Why::kOff;
  // States serve their own length alone, so that one is to be stored wherever
  // a later prompt may part.
  bool own_length = false;
};

// One line, such as "64 of 90 tokens reused: the stored state is at 64 of the
// 83 tokens in common".
std::string Describe(const PrefixMatch& match, int64_t prompt);

}  // namespace intarsia
