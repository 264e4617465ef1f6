// Values of wrong types in files that are copied, not read: tokenizers and
// configurations of other programs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "intarsia/core/in_file.h"
#include "intarsia/core/status.h"

namespace intarsia {

// body(), a Result or a Status, in which a JSON value of another type than is
// asked for becomes an error that names `path`.
template <typename Body>
auto NamingJsonFaults(const std::string& path, const Body& body)
    -> decltype(body()) {
  try {
    return body();
  } catch (const nlohmann::json::exception& fault) {
    return InvalidArgument("[convert] " + path +
                           ": the JSON of its tokenizer or configuration has "
                           "a value of a wrong type: " +
                           fault.what());
  }
}

}  // namespace intarsia
