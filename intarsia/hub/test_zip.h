// A zip archive of one member, for tests.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>

#include "intarsia/checkpoint/test_files.h"

namespace intarsia {

inline std::string Deflated(const std::string& text) {
  std::string out(text.size() + 1024, '\0');
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// Fields that a test may make wrong.
struct ZipBytes {
  std::string name;
  std::string packed;
  uint32_t size = 0;  // unpacked
  uint16_t method = 0;
  uint16_t flags = 0;
  uint32_t local_offset = 0;
  uint32_t claimed_packed = 0;
  uint16_t entries = 1;

  static ZipBytes Stored(const std::string& name, const std::string& text) {
    ZipBytes zip{.name = name, .packed = text};
    zip.size = zip.claimed_packed = static_cast<uint32_t>(text.size());
    return zip;
  }
  static ZipBytes Packed(const std::string& name, const std::string& text) {
    ZipBytes zip = Stored(name, Deflated(text));
    zip.size = static_cast<uint32_t>(text.size());
    zip.method = 8;
    return zip;
  }
  std::string Bytes() const {
    const std::string sizes = Raw<uint32_t>(0) + Raw(claimed_packed) +
                              Raw(size) +
                              Raw(static_cast<uint16_t>(name.size()));
    const std::string how =
        Raw<uint16_t>(20) + Raw(flags) + Raw(method) + Raw<uint32_t>(0);
    const std::string local =
        Raw<uint32_t>(0x04034b50) + how + sizes + Raw<uint16_t>(0) + name;
    const std::string entry = Raw<uint32_t>(0x02014b50) + Raw<uint16_t>(20) +
                              how + sizes + Raw<uint32_t>(0) +
                              Raw<uint32_t>(0) + Raw<uint32_t>(0) +
                              Raw(local_offset) + name;
    const std::string body = local + packed;
    return body + entry + Raw<uint32_t>(0x06054b50) + Raw<uint32_t>(0) +
           Raw(entries) + Raw(entries) +
           Raw(static_cast<uint32_t>(entry.size())) +
           Raw(static_cast<uint32_t>(body.size())) + Raw<uint16_t>(0);
  }
};

}  // namespace intarsia
