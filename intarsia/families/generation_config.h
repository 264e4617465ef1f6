// generation_config.json: which tokens end an answer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/model/config.h"

namespace intarsia {

// Adds the eos_token_id (a number or a list of them) of a
// generation_config.json to config->eos_ids. An id that the model can't give is
// a warning; what is no id is an error, which names `path`.
Status AddGenerationEnds(std::string_view text, const std::string& path,
                         ModelConfig* config,
                         std::vector<std::string>* warnings);

// The same from a file; nothing where `path` is empty.
Status ReadGenerationConfig(const std::string& path, ModelConfig* config,
                            std::vector<std::string>* warnings);

}  // namespace intarsia
