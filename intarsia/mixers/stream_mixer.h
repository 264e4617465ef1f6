// Mixers that read or write named values (Mixer::reads, writes): their
// reference takes and gives them too.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "intarsia/mixers/mixer.h"

namespace intarsia {

// Named values in double: what Streams are to Forward.
using ReferenceStreams = std::map<std::string, Doubles>;

class StreamMixer : public Mixer {
 public:
  Doubles Reference(const Batch& batch, const std::vector<Doubles>& weights,
                    const Doubles& x) const final {
    ReferenceStreams streams;
    return ReferenceWith(batch, weights, x, &streams);
  }
  virtual Doubles ReferenceWith(const Batch& batch,
                                const std::vector<Doubles>& weights,
                                const Doubles& x,
                                ReferenceStreams* streams) const = 0;
};

}  // namespace intarsia
