#include "checkpoint_files.h"

namespace wan::checkpoint::test {
namespace {

constexpr std::uint32_t in_zip64 = 0xFFFFFFFF;

std::string member_record(const ZipMemberSpec& member, std::uint64_t offset, bool zip64) {
  const std::uint64_t size = member.claimed_bytes != 0 ? member.claimed_bytes : member.bytes.size();
  const auto size32 = zip64 ? in_zip64 : static_cast<std::uint32_t>(size);
  std::string extra = little_endian<std::uint16_t>(0x4242) + little_endian<std::uint16_t>(2) + "xy";
  if (zip64) {
    extra += little_endian<std::uint16_t>(1) + little_endian<std::uint16_t>(24) + little_endian(size) +
             little_endian(size) + little_endian(offset);
  }
  std::string record = little_endian<std::uint32_t>(0x02014B50) + std::string(4, '\0');
  record += little_endian(member.flags) + little_endian(member.method) + std::string(8, '\0');
  record += little_endian(size32) + little_endian(size32);
  record += little_endian(static_cast<std::uint16_t>(member.name.size()));
  record += little_endian(static_cast<std::uint16_t>(extra.size())) + std::string(10, '\0');
  record += little_endian(zip64 ? in_zip64 : static_cast<std::uint32_t>(offset));
  return record + member.name + extra;
}

std::string local_record(const ZipMemberSpec& member) {
  const std::string& name = member.local_name.empty() ? member.name : member.local_name;
  std::string record = little_endian<std::uint32_t>(0x04034B50) + std::string(4, '\0');
  record += little_endian(member.method) + std::string(16, '\0');
  record += little_endian(static_cast<std::uint16_t>(name.size()));
  record += little_endian<std::uint16_t>(5);  // a padding that the directory does not have
  return record + name + "PADDI";
}

}  // namespace

std::string build_zip(const std::vector<ZipMemberSpec>& members, const ZipOptions& options) {
  std::string bytes;
  std::string directory;
  for (const ZipMemberSpec& member : members) {
    directory += member_record(member, bytes.size(), options.zip64);
    bytes += local_record(member) + member.bytes;
  }
  const std::uint64_t directory_byte = bytes.size();
  const std::uint64_t count = members.size() + static_cast<std::uint64_t>(options.extra_members);
  bytes += directory;
  if (options.zip64) {
    const std::uint64_t record_byte = bytes.size();
    bytes +=
        little_endian<std::uint32_t>(0x06064B50) + little_endian<std::uint64_t>(44) + std::string(12, '\0');
    bytes += little_endian(count) + little_endian(count);
    bytes += little_endian<std::uint64_t>(directory.size()) + little_endian(directory_byte);
    bytes += little_endian<std::uint32_t>(0x07064B50) + little_endian<std::uint32_t>(0) +
             little_endian(record_byte);
    bytes += little_endian<std::uint32_t>(1);
  }
  bytes += little_endian<std::uint32_t>(0x06054B50) + little_endian(options.disk) +
           little_endian<std::uint16_t>(0);
  const auto count16 = options.zip64 ? std::uint16_t{0xFFFF} : static_cast<std::uint16_t>(count);
  bytes += little_endian(count16) + little_endian(count16);
  bytes += little_endian(options.zip64 ? in_zip64 : static_cast<std::uint32_t>(directory.size()));
  bytes += little_endian(options.zip64 ? in_zip64 : static_cast<std::uint32_t>(directory_byte));
  bytes += little_endian(static_cast<std::uint16_t>(options.comment.size()));
  return bytes + options.comment;
}

}  // namespace wan::checkpoint::test
