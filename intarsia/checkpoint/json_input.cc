#include "intarsia/checkpoint/json_input.h"

#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "intarsia/checkpoint/checked.h"
#include "intarsia/checkpoint/mapped_file.h"

namespace intarsia {
namespace {

using Json = nlohmann::json;

// Thrown from the parser's callback, never past ParseJson.
struct Fault {
  std::string what;
};

// The strings that stand for non-finite numbers while JSON is parsed. Nobody
// writes them otherwise; who does gets the number.
constexpr std::pair<std::string_view, std::string_view> kNonFinite[] = {
    {"-Infinity", "\"\\u0001-Infinity\""},
    {"Infinity", "\"\\u0001Infinity\""},
    {"NaN", "\"\\u0001NaN\""},
};

// Puts the strings of kNonFinite for the bare words, outside of strings.
std::string QuoteNonFinite(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 64);
  bool in_string = false;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\' && i + 1 < text.size()) out += text[i++];
      if (c == '"') in_string = false;
      out += text[i++];
      continue;
    }
    const std::pair<std::string_view, std::string_view>* word = nullptr;
    if (c == '-' || c == 'I' || c == 'N') {
      for (const auto& entry : kNonFinite) {
        if (text.substr(i, entry.first.size()) == entry.first) {
          word = &entry;
          break;
        }
      }
    }
    if (word != nullptr) {
      out += word->second;
      i += word->first.size();
      continue;
    }
    if (c == '"') in_string = true;
    out += c;
    ++i;
  }
  return out;
}

bool ReadNonFinite(std::string_view name, double* value) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  if (name == "-Infinity") {
    *value = -kInf;
  } else if (name == "Infinity") {
    *value = kInf;
  } else if (name == "NaN") {
    *value = std::numeric_limits<double>::quiet_NaN();
  } else {
    return false;
  }
  return true;
}

// The depth is bounded by the parser's callback.
void RestoreNonFinite(Json* value) {
  double number = 0;
  if (value->is_string()) {
    const std::string_view text = value->get_ref<const std::string&>();
    if (text.starts_with('\x01') && ReadNonFinite(text.substr(1), &number)) {
      *value = number;
    }
    return;
  }
  if (!value->is_structured()) return;
  if (value->is_object() && value->size() == 1) {
    const auto found = value->find("__float__");
    if (found != value->end() && found->is_string() &&
        ReadNonFinite(found->get_ref<const std::string&>(), &number)) {
      *value = number;
      return;
    }
  }
  for (auto& child : *value) RestoreNonFinite(&child);
}

}  // namespace

Result<Json> ParseJson(std::string_view text, const std::string& where,
                       JsonLimits limits) {
  if (text.find('\0') !=
      std::string_view::npos) {  // the parser would stop there
    return InvalidArgument(where + " is not JSON: it holds a zero byte");
  }
  std::string quoted;
  if (limits.non_finite) {
    quoted = QuoteNonFinite(text);
    text = quoted;
  }
  std::vector<std::set<std::string>> keys;  // of each open object or array
  auto callback = [&](int, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (static_cast<int>(keys.size()) >= limits.depth) {
        throw Fault{"nests deeper than " + std::to_string(limits.depth)};
      }
      keys.emplace_back();
    } else if (event == Event::object_end || event == Event::array_end) {
      keys.pop_back();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) {
        throw Fault{"gives \"" + Printable(key) + "\" twice"};
      }
    }
    return true;
  };
  try {
    Json value = Json::parse(text.begin(), text.end(), callback);
    if (limits.non_finite) RestoreNonFinite(&value);
    return value;
  } catch (const Fault& fault) {
    return InvalidArgument(where + " " + fault.what);
  } catch (const Json::exception& error) {
    std::string_view what = error.what();
    // Leave out "[json.exception.parse_error.101] ".
    if (const size_t end = what.find("] "); end != std::string_view::npos) {
      what.remove_prefix(end + 2);
    }
    return InvalidArgument(where + " is not JSON: " + Printable(what, 200));
  }
}

Result<Json> ReadJsonFile(const std::string& path, const std::string& room,
                          size_t max_bytes, JsonLimits limits) {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file,
                   MappedFile::Open(path));
  const std::string where = "[" + room + "] " + path + ":";
  if (file->size() > max_bytes) {
    return InvalidArgument(where + " " + std::to_string(file->size()) +
                           " bytes of JSON, at most " +
                           std::to_string(max_bytes) + " are read");
  }
  return ParseJson(file->text(), where + " the file", limits);
}

}  // namespace intarsia
