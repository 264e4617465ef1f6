// Reads the recorded data of the tests.
#pragma once

#include <zlib.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "intarsia/core/check.h"

namespace intarsia {

inline std::string TestDataPath(const std::string& name) {
  return "intarsia/tokenizer/testdata/" + name;
}

inline std::string ReadTestData(const std::string& name) {
  std::ifstream file(TestDataPath(name), std::ios::binary);
  CHECK(file.good()) << name;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The values of a .jsonl.gz, one a line.
inline std::vector<nlohmann::ordered_json> ReadRecords(
    const std::string& name) {
  gzFile file = gzopen(TestDataPath(name).c_str(), "rb");
  CHECK(file != nullptr) << name;
  std::string text;
  char buffer[1 << 16];
  int n = 0;
  while ((n = gzread(file, buffer, sizeof(buffer))) > 0) {
    text.append(buffer, static_cast<size_t>(n));
  }
  CHECK_EQ(n, 0) << name;
  gzclose(file);
  std::vector<nlohmann::ordered_json> records;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    records.push_back(nlohmann::ordered_json::parse(text.substr(at, end - at)));
    at = end + 1;
  }
  return records;
}

}  // namespace intarsia
