// tokenizer_config.json, which goes with a tokenizer.json or a tokenizer.model:
// the names of bos and eos, whether texts get them, and chat templates.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "intarsia/core/status.h"
#include "intarsia/tokenizer/builder.h"

namespace intarsia {

// After the tokens are known. `add_bos` and `add_eos` count where the file does
// not say it; a prefix or suffix that is set already stays.
Status ReadTokenizerConfig(const nlohmann::json& config, bool add_bos,
                           bool add_eos, TokenizerBuilder* builder);

// The text of a tokenizer_config.json (may be empty) with the templates that
// lie in files of their own in the folder of `tokenizer_path`:
// chat_template.jinja and additional_chat_templates/NAME.jinja, which come
// before those of the same name in the configuration, and chat_template.json,
// which counts where there is no other.
Result<std::string> ConfigWithTemplates(std::string config,
                                        const std::string& tokenizer_path);

// Untrusted text, and a whole file.
Result<nlohmann::json> ParseTokenizerJson(std::string_view text);
Result<std::string> ReadWholeFile(const std::string& path);

// "[tokenizer] source: why".
Status TokenizerError(const std::string& source, const Status& status);

}  // namespace intarsia
