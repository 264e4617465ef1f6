// The parts of a tokenizer.json around its model, each read from its own field:
// "normalizer", "decoder", "post_processor" ("pre_tokenizer" is in
// pre_tokenizer.h). A null field gives the part that does nothing. Untrusted: a
// component or an option that is not known is refused by name.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/tokenizer/decoder.h"
#include "intarsia/tokenizer/normalizer.h"

namespace intarsia {

Result<Normalizer> ReadNormalizer(const nlohmann::json& spec);

// `byte_level`: the model's pieces are bytes, which is how tokens are decoded
// where the field is null.
Result<Decoder> ReadDecoder(const nlohmann::json& spec, bool byte_level);

// What stands before and behind a text.
struct TokenFrame {
  std::vector<int32_t> prefix, suffix;
};
Result<TokenFrame> ReadPostProcessor(const nlohmann::json& spec);

// A post_processor that puts one token before a text and one after it; a token
// without text stands for none.
struct FrameToken {
  std::string text;
  int64_t id = -1;
};
nlohmann::json FrameProcessor(const FrameToken& before,
                              const FrameToken& after);
// A tokenizer.json with that in the place of its own; what is no object comes
// back as it is.
std::string WithFrame(const std::string& tokenizer_json,
                      const FrameToken& before, const FrameToken& after);

}  // namespace intarsia
