// Where pip would look for packages: its environment variables and pip.conf
// files, in its order of precedence
// (https://pip.pypa.io/en/stable/topics/configuration/).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "intarsia/hub/http.h"

namespace intarsia {

struct IndexSettings {
  std::string index_url = "https://pypi.org/simple";
  HttpAccess access = {};
};

// `get` gives an environment variable or ""; `etc` is where the system's files
// are. What cannot be read is passed over, as pip does.
using GetVariable = std::function<std::string(const std::string&)>;
IndexSettings ReadIndexSettings(const GetVariable& get,
                                const std::string& etc = "/etc");
IndexSettings ReadIndexSettings();  // of this process

// Sections and their keys of a pip.conf; keys in lower case with '-', values
// over several lines joined by '\n'.
using IniSections = std::map<std::string, std::map<std::string, std::string>>;
IniSections ParseIni(std::string_view text);

}  // namespace intarsia
