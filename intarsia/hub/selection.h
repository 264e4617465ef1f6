// Which files of a repository make the model that a user asked for.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "intarsia/core/status.h"
#include "intarsia/hub/listing.h"

namespace intarsia {

struct HubSelection {
  std::vector<HubFile> files;
  // "Q4_K_M", or the name of the file where its name has no quantisation;
  // "safetensors" for a model in Hugging Face's form.
  std::string quant;
  // What opens the model, below its folder; empty: the folder itself.
  std::string entry;
};

inline constexpr char kSafetensors[] = "safetensors";

// The quantisation that a GGUF file's name ends in, in capitals: "Q4_K_M" of
// "x/Model-Q4_K_M-00001-of-00002.gguf", "UD-Q4_K_XL"; empty where there is
// none.
std::string QuantOfFile(std::string_view path);

// Gives the text of a small file of the repository.
using ReadHubFile = std::function<Result<std::string>(const HubFile& file)>;

// `quant` names a quantisation, in any case, or a GGUF file. Empty: weights in
// safetensors with configuration and tokenizer if there are any, else the GGUF
// file in Q4_K_M, else in Q8_0, else in what comes next to 4 bits.
//
// Weights in several safetensors files are those that
// model.safetensors.index.json names, which `read` is asked for; of split GGUF
// files all parts come. Vision projectors and importance matrices are left out,
// and drafters (files or folders named MTP, draft, eagle ...) too, unless
// `quant` is the name of the file or nothing else is there. NotFound lists what
// there is, also of weights in forms that are not read.
Result<HubSelection> SelectFiles(const HubListing& listing,
                                 const std::string& quant,
                                 const std::string& where,
                                 const ReadHubFile& read);

}  // namespace intarsia
