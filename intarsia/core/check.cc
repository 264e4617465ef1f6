#include "intarsia/core/check.h"

#include <cstdio>

namespace intarsia::check_internal {

Failure::Failure(const char* file, int line, const char* condition)
    : text_(std::string(file) + ":" + std::to_string(line) + ": CHECK(" +
            condition + ") failed ") {}

Failure::~Failure() noexcept(false) { throw CheckError(text_); }

Failure& Failure::operator<<(std::string_view text) {
  text_ += text;
  return *this;
}
Failure& Failure::operator<<(const char* text) {
  return *this << std::string_view(text == nullptr ? "(null)" : text);
}
Failure& Failure::operator<<(char c) {
  return *this << std::string_view(&c, 1);
}
Failure& Failure::operator<<(bool value) {
  return *this << (value ? "1" : "0");
}
Failure& Failure::operator<<(int value) {
  return *this << std::to_string(value);
}
Failure& Failure::operator<<(unsigned value) {
  return *this << std::to_string(value);
}
Failure& Failure::operator<<(long value) {
  return *this << std::to_string(value);
}
Failure& Failure::operator<<(unsigned long value) {
  return *this << std::to_string(value);
}
Failure& Failure::operator<<(long long value) {
  return *this << std::to_string(value);
}
Failure& Failure::operator<<(unsigned long long value) {
  return *this << std::to_string(value);
}
Failure& Failure::operator<<(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", value);
  return *this << text;
}
Failure& Failure::operator<<(const void* value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%p", value);
  return *this << text;
}

}  // namespace intarsia::check_internal
