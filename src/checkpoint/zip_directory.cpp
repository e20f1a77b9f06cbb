#include "checkpoint/zip_directory.h"

#include <algorithm>
#include <concepts>
#include <cstring>
#include <span>
#include <vector>

#include "checkpoint/tensor_file.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

// Sizes and signatures of the records, from the ZIP file format specification (APPNOTE 6.3), sections 4.3 and
// 4.5.
constexpr std::uint32_t local_signature = 0x04034B50;
constexpr std::uint32_t member_signature = 0x02014B50;
constexpr std::uint32_t end_signature = 0x06054B50;
constexpr std::uint32_t end64_signature = 0x06064B50;
constexpr std::uint32_t locator64_signature = 0x07064B50;
constexpr std::size_t local_bytes = 30;
constexpr std::size_t member_bytes = 46;
constexpr std::size_t end_bytes = 22;
constexpr std::size_t end64_bytes = 56;
constexpr std::size_t locator64_bytes = 20;
constexpr std::size_t max_comment_bytes = 65535;
constexpr std::uint16_t zip64_extra = 1;
constexpr std::uint32_t in_zip64 = 0xFFFFFFFF;  // means "see the Zip64 field"
constexpr std::uint64_t max_directory_bytes = 64 << 20;

template <std::unsigned_integral T>
T load(std::span<const std::byte> bytes, std::size_t at) {
  WAN_CHECK(at + sizeof(T) <= bytes.size(), "record read at {} of {}", at, bytes.size());
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

std::vector<std::byte> read_bytes(const UniqueFd& file, const std::filesystem::path& path, std::uint64_t at,
                                  std::size_t size) {
  std::vector<std::byte> bytes(size);
  read_at(file, path, at, bytes);
  return bytes;
}

struct DirectoryPlace {
  std::uint64_t begin_byte = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t members = 0;
  std::uint64_t end_record_byte = 0;  ///< where the records after the directory begin
};

/// If there is a locator before the end record, follows it to the Zip64 end record.
void apply_zip64(const UniqueFd& file, const std::filesystem::path& path, DirectoryPlace& place) {
  const std::uint64_t end_byte = place.end_record_byte;
  if (end_byte < locator64_bytes) return;
  const auto locator = read_bytes(file, path, end_byte - locator64_bytes, locator64_bytes);
  if (load<std::uint32_t>(locator, 0) != locator64_signature) return;
  const auto record_byte = load<std::uint64_t>(locator, 8);
  if (end_byte < locator64_bytes + end64_bytes || record_byte > end_byte - locator64_bytes - end64_bytes) {
    fail<UsageError>("{}: the Zip64 end record would be at byte {} of {}; the file is cut off or damaged",
                     path.string(), record_byte, end_byte);
  }
  const auto record = read_bytes(file, path, record_byte, end64_bytes);
  if (load<std::uint32_t>(record, 0) != end64_signature) {
    fail<UsageError>("{}: there is no Zip64 end record at byte {}; the file is damaged", path.string(),
                     record_byte);
  }
  if (load<std::uint32_t>(record, 16) != 0 || load<std::uint32_t>(record, 20) != 0) {
    fail<UsageError>("{}: the archive is spread over several disks", path.string());
  }
  place = {.begin_byte = load<std::uint64_t>(record, 48),
           .size_bytes = load<std::uint64_t>(record, 40),
           .members = load<std::uint64_t>(record, 32),
           .end_record_byte = record_byte};
}

DirectoryPlace find_directory(const UniqueFd& file, const std::filesystem::path& path) {
  const std::uint64_t file_bytes = file_size_bytes(file, path);
  const auto tail_bytes =
      static_cast<std::size_t>(std::min<std::uint64_t>(file_bytes, end_bytes + max_comment_bytes));
  const std::uint64_t tail_byte = file_bytes - tail_bytes;
  const auto tail = read_bytes(file, path, tail_byte, tail_bytes);
  std::size_t at = tail_bytes >= end_bytes ? tail_bytes - end_bytes + 1 : 0;
  bool found = false;
  // Searches backwards, because the comment after the record may contain anything.
  while (!found && at-- > 0) {
    found = load<std::uint32_t>(tail, at) == end_signature &&
            at + end_bytes + load<std::uint16_t>(tail, at + 20) == tail_bytes;
  }
  if (!found) {
    fail<UsageError>(
        "{}: no end of a zip archive found in its last {} bytes; the file is cut off (a download that "
        "did not finish?) or damaged",
        path.string(), tail_bytes);
  }
  if (load<std::uint16_t>(tail, at + 4) != 0 || load<std::uint16_t>(tail, at + 6) != 0) {
    fail<UsageError>("{}: the archive is spread over several disks", path.string());
  }
  DirectoryPlace place{.begin_byte = load<std::uint32_t>(tail, at + 16),
                       .size_bytes = load<std::uint32_t>(tail, at + 12),
                       .members = load<std::uint16_t>(tail, at + 10),
                       .end_record_byte = tail_byte + at};
  apply_zip64(file, path, place);
  if (place.size_bytes > max_directory_bytes) {
    fail<UsageError>("{}: the zip directory claims {} bytes; at most {} are read", path.string(),
                     place.size_bytes, max_directory_bytes);
  }
  if (place.size_bytes > place.end_record_byte ||
      place.begin_byte > place.end_record_byte - place.size_bytes) {
    fail<UsageError>(
        "{}: the zip directory would begin at byte {} and take {} bytes, but it must end by byte {}",
        path.string(), place.begin_byte, place.size_bytes, place.end_record_byte);
  }
  return place;
}

/// One record of the central directory. `record` begins at its signature.
struct MemberRecord {
  std::string name;
  ZipMember member;
  std::uint64_t compressed_bytes = 0;
  std::size_t record_bytes = 0;
};

/// Replaces the fields that say "see Zip64" by values of the extra field. They come in this order, each only
/// if it is needed.
void apply_zip64(MemberRecord& record, std::span<const std::byte> extra, const std::string& where) {
  std::vector<std::uint64_t*> wanted;
  for (std::uint64_t* field :
       {&record.member.size_bytes, &record.compressed_bytes, &record.member.local_header_byte}) {
    if (*field == in_zip64) wanted.push_back(field);
  }
  while (!wanted.empty() && extra.size() >= 4) {
    const auto id = load<std::uint16_t>(extra, 0);
    const auto size = load<std::uint16_t>(extra, 2);
    if (size > extra.size() - 4) break;
    if (id == zip64_extra && size >= 8 * wanted.size()) {
      for (std::size_t i = 0; i < wanted.size(); ++i) *wanted[i] = load<std::uint64_t>(extra, 4 + 8 * i);
      return;
    }
    extra = extra.subspan(4U + size);
  }
  if (!wanted.empty()) fail<UsageError>("{}: the Zip64 field is missing or cut off", where);
}

MemberRecord parse_member(std::span<const std::byte> bytes, const std::string& path) {
  if (bytes.size() < member_bytes || load<std::uint32_t>(bytes, 0) != member_signature) {
    fail<UsageError>("{}: the zip directory is damaged {} bytes before its end", path, bytes.size());
  }
  const std::size_t name_bytes = load<std::uint16_t>(bytes, 28);
  const std::size_t extra_bytes = load<std::uint16_t>(bytes, 30);
  const std::size_t comment_bytes = load<std::uint16_t>(bytes, 32);
  MemberRecord record;
  record.record_bytes = member_bytes + name_bytes + extra_bytes + comment_bytes;
  if (record.record_bytes > bytes.size()) {
    fail<UsageError>("{}: the zip directory is cut off {} bytes before its end", path, bytes.size());
  }
  const auto name = bytes.subspan(member_bytes, name_bytes);
  std::ranges::transform(name, std::back_inserter(record.name),
                         [](std::byte b) { return static_cast<char>(b); });
  const std::string where = fmt::format("{}: member {}", path, in_quotes(record.name));
  record.compressed_bytes = load<std::uint32_t>(bytes, 20);
  record.member = {.local_header_byte = load<std::uint32_t>(bytes, 42),
                   .size_bytes = load<std::uint32_t>(bytes, 24)};
  apply_zip64(record, bytes.subspan(member_bytes + name_bytes, extra_bytes), where);
  if ((load<std::uint16_t>(bytes, 8) & 1U) != 0) fail<UsageError>("{} is encrypted", where);
  if (const auto method = load<std::uint16_t>(bytes, 10);
      method != 0 || record.compressed_bytes != record.member.size_bytes) {
    fail<UsageError>(
        "{} is compressed (method {}); torch.save() stores its files uncompressed. Save the checkpoint "
        "again with torch.save()",
        where, method);
  }
  return record;
}

}  // namespace

ZipDirectory::ZipDirectory(const UniqueFd& file, const std::filesystem::path& path) {
  const DirectoryPlace place = find_directory(file, path);
  directory_byte_ = place.begin_byte;
  const auto bytes = read_bytes(file, path, place.begin_byte, static_cast<std::size_t>(place.size_bytes));
  std::span<const std::byte> rest = bytes;
  while (!rest.empty()) {
    MemberRecord record = parse_member(rest, path.string());
    rest = rest.subspan(record.record_bytes);
    if (!members_.emplace(record.name, record.member).second) {
      fail<UsageError>("{}: two members are named {}", path.string(), in_quotes(record.name));
    }
    if (members_.size() > max_tensors_per_file) {
      fail<UsageError>("{}: more than {} members in the archive", path.string(), max_tensors_per_file);
    }
  }
  if (members_.size() != place.members) {
    fail<UsageError>("{}: the zip directory lists {} members, its end record {}", path.string(),
                     members_.size(), place.members);
  }
}

std::uint64_t ZipDirectory::payload_byte(const UniqueFd& file, const std::filesystem::path& path,
                                         const std::string& name, const ZipMember& member) const {
  const auto outside = [&] {
    fail<UsageError>("{}: member {}, {} bytes at byte {}, does not lie before the zip directory at byte {}",
                     path.string(), in_quotes(name), member.size_bytes, member.local_header_byte,
                     directory_byte_);
  };
  const std::uint64_t head_bytes = local_bytes + name.size();
  if (directory_byte_ < head_bytes || member.local_header_byte > directory_byte_ - head_bytes) outside();
  const auto header = read_bytes(file, path, member.local_header_byte, static_cast<std::size_t>(head_bytes));
  if (load<std::uint32_t>(header, 0) != local_signature || load<std::uint16_t>(header, 8) != 0 ||
      load<std::uint16_t>(header, 26) != name.size() ||
      std::memcmp(header.data() + local_bytes, name.data(), name.size()) != 0) {
    fail<UsageError>("{}: the local header of member {} at byte {} is not that of this stored member",
                     path.string(), in_quotes(name), member.local_header_byte);
  }
  // The local extra field differs from the directory's: it contains the padding that aligns the payload.
  const std::uint64_t payload = member.local_header_byte + head_bytes + load<std::uint16_t>(header, 28);
  if (payload > directory_byte_ || member.size_bytes > directory_byte_ - payload) outside();
  return payload;
}

}  // namespace wan::checkpoint
