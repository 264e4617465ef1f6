#include <cstring>

#include "intarsia/tokenizer/chat_template/builtins.h"

namespace intarsia::chat_template {

Bound::Bound(const std::string& what, const Arguments& arguments,
             std::initializer_list<const char*> names, size_t required)
    : what_(what), names_(names), values_(names.size(), nullptr) {
  if (arguments.positional.size() > names_.size()) {
    Fail(what + "() takes at most " + std::to_string(names_.size()) +
         " argument(s)");
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    values_[i] = &arguments.positional[i];
  }
  for (const auto& [name, value] : arguments.named) {
    size_t i = 0;
    while (i < names_.size() && name != names_[i]) ++i;
    if (i == names_.size()) {
      Fail(what + "() got an unexpected keyword argument '" + name + "'");
    }
    if (values_[i] != nullptr) {
      Fail(what + "() got two values for '" + name + "'");
    }
    values_[i] = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (values_[i] == nullptr) {
      Fail(what + "() misses the argument '" + names_[i] + "'");
    }
  }
}

std::string Bound::Text(size_t i, const char* fallback) const {
  if (values_[i] == nullptr) return fallback;
  return RequireText(*values_[i], what_ + "(): " + names_[i]);
}

int64_t Bound::Int(size_t i, int64_t fallback) const {
  if (values_[i] == nullptr) return fallback;
  if (!values_[i]->is_int() && !values_[i]->is_bool()) {
    Fail(what_ + "(): " + names_[i] + " must be an integer, is " +
         values_[i]->TypeName());
  }
  return values_[i]->integer();
}

bool Bound::Flag(size_t i, bool fallback) const {
  return values_[i] == nullptr ? fallback : values_[i]->Truth();
}

const std::string& RequireText(const Value& value, const std::string& what) {
  if (!value.is_string()) {
    Fail(what + " must be a string, is " + value.TypeName());
  }
  return value.string();
}

}  // namespace intarsia::chat_template
