#include "intarsia/hub/zip.h"

#include <zlib.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "intarsia/checkpoint/checked.h"

namespace intarsia {
namespace {

constexpr uint32_t kEndMagic = 0x06054b50;
constexpr uint32_t kEntryMagic = 0x02014b50;
constexpr uint32_t kLocalMagic = 0x04034b50;
constexpr size_t kEndBytes = 22;
constexpr size_t kMaxComment = 65535;
constexpr size_t kLocalBytes = 30;
constexpr uint32_t kZip64 = 0xFFFFFFFF;  // "see the zip64 record"
constexpr size_t kPiece = 256 << 10;

struct Directory {
  uint64_t entries = 0;
  std::span<const std::byte> bytes;
};

// The record at the end of the archive, behind which a comment may stand.
Result<Directory> FindDirectory(const MappedFile& archive,
                                const std::string& where) {
  const std::span<const std::byte> all = archive.bytes();
  if (all.size() < kEndBytes) return DataLoss(where + "not a zip archive");
  const size_t last = all.size() - kEndBytes;
  const size_t first = last > kMaxComment ? last - kMaxComment : 0;
  for (size_t at = last + 1; at-- > first;) {
    if (LoadUnaligned<uint32_t>(all.data() + at) != kEndMagic) continue;
    ByteReader in(all.subspan(at + 8));
    in.Read<uint16_t>();  // entries on this disk
    const auto entries = in.Read<uint16_t>();
    const auto size = in.Read<uint32_t>();
    const auto offset = in.Read<uint32_t>();
    if (entries == 0xFFFF || size == kZip64 || offset == kZip64) {
      return Unsupported(where + "zip64 archives are not supported");
    }
    if (offset > at || size > at - offset) {
      return DataLoss(where + "its directory lies outside of the archive");
    }
    return Directory{entries, all.subspan(offset, size)};
  }
  return DataLoss(where + "not a zip archive, or cut short");
}

}  // namespace

Result<ZipMember> FindZipMember(const MappedFile& archive,
                                const std::string& name) {
  const std::string where = "[zip] " + archive.path() + ": ";
  ASSIGN_OR_RETURN(const Directory directory, FindDirectory(archive, where));
  ByteReader in(directory.bytes);
  for (uint64_t i = 0; i < directory.entries; ++i) {
    const auto magic = in.Read<uint32_t>();
    in.Take(4);  // versions
    const auto flags = in.Read<uint16_t>();
    const auto method = in.Read<uint16_t>();
    in.Take(8);  // time, date, CRC
    const auto packed = in.Read<uint32_t>();
    const auto size = in.Read<uint32_t>();
    const auto name_bytes = in.Read<uint16_t>();
    const auto extra_bytes = in.Read<uint16_t>();
    const auto comment_bytes = in.Read<uint16_t>();
    in.Take(8);  // disk, attributes
    const auto offset = in.Read<uint32_t>();
    const std::string_view found = AsText(in.Take(name_bytes));
    in.Take(uint64_t{extra_bytes} + comment_bytes);
    if (!in.ok() || magic != kEntryMagic) {
      return DataLoss(where + "its directory is malformed");
    }
    if (found != name) continue;
    const std::string member = where + "member " + Printable(name) + " ";
    if (packed == kZip64 || size == kZip64 || offset == kZip64) {
      return Unsupported(member + "uses zip64, which is not supported");
    }
    if ((flags & 1) != 0 || (method != 0 && method != 8)) {
      return Unsupported(member + "is encrypted or packed by method " +
                         std::to_string(method));
    }
    ByteReader local(archive.bytes());
    local.Take(offset);
    const auto local_magic = local.Read<uint32_t>();
    local.Take(kLocalBytes - 8);
    const auto local_name = local.Read<uint16_t>();
    const auto local_extra = local.Read<uint16_t>();
    local.Take(uint64_t{local_name} + local_extra);
    const auto bytes = local.Take(packed);
    if (!local.ok() || local_magic != kLocalMagic) {
      return DataLoss(member + "lies outside of the archive");
    }
    return ZipMember{method, size, bytes};
  }
  return NotFound(where + "has no member " + Printable(name));
}

Status UnpackZipMember(
    const ZipMember& member, const std::string& where,
    const std::function<Status(std::span<const std::byte>)>& sink) {
  const Status wrong_size =
      DataLoss(where + " does not unpack to the " +
               std::to_string(member.size) + " bytes that it claims");
  if (member.method == 0) {
    if (member.packed.size() != member.size) return wrong_size;
    for (size_t at = 0; at < member.packed.size(); at += kPiece) {
      RETURN_IF_ERROR(sink(member.packed.subspan(
          at, std::min(kPiece, member.packed.size() - at))));
    }
    return Status::Ok();
  }
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) {  // no zlib header
    return Unavailable(where + " cannot be unpacked: no memory");
  }
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, inflateEnd);
  std::vector<std::byte> piece(kPiece);
  std::span<const std::byte> input = member.packed;
  uint64_t total = 0;
  int code = Z_OK;
  while (code != Z_STREAM_END) {
    if (stream.avail_in == 0) {
      const size_t part = std::min<size_t>(input.size(), 1 << 20);
      stream.next_in =
          reinterpret_cast<Bytef*>(const_cast<std::byte*>(input.data()));
      stream.avail_in = static_cast<uInt>(part);
      input = input.subspan(part);
    }
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = kPiece;
    code = inflate(&stream, Z_NO_FLUSH);
    const size_t got = kPiece - stream.avail_out;
    if (code != Z_OK && code != Z_STREAM_END) {
      return DataLoss(where + " is corrupt or cut short");
    }
    total += got;
    if (total > member.size) return wrong_size;
    RETURN_IF_ERROR(sink(std::span(piece).first(got)));
  }
  return total == member.size ? Status::Ok() : wrong_size;
}

}  // namespace intarsia
