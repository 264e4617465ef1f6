// The special tokens of a model and its further added tokens, as the files
// beside a tokenizer.json or a tokenizer.model name them: in
// tokenizer_config.json, or (of older libraries) in special_tokens_map.json and
// added_tokens.json. They mean here what they mean to `transformers` 5.24.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "intarsia/core/status.h"
#include "intarsia/tokenizer/added_tokens.h"
#include "intarsia/tokenizer/builder.h"
#include "intarsia/tokenizer/side_files.h"

namespace intarsia {

// What counts where the files are silent.
struct UsualSpecialTokens {
  std::map<std::string, std::string> names;  // bos_token → <s>
  bool add_bos = false, add_eos = false;
  // add_bos_token and add_eos_token of the configuration count. Beside a
  // tokenizer.json its post_processor does.
  bool flags_count = true;
};

// A special or added token as files write it: its text, or an object with
// "content" and flags. `special` counts where the object doesn't say it.
Result<AddedToken> ReadAddedToken(const nlohmann::json& spec, bool special,
                                  const std::string& where);

// After the tokens of the tokenizer's own file are known. `own_added`: the
// "added_tokens" of a tokenizer.json, or null. A prefix or suffix that is set
// already stays. Errors name the file.
Status ReadSpecialTokens(const SideFiles& files,
                         const nlohmann::json& own_added,
                         const UsualSpecialTokens& usual,
                         TokenizerBuilder* builder);

}  // namespace intarsia
