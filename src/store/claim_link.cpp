#include "store/claim_link.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "core/check.h"
#include "core/file.h"
#include "core/strings.h"

namespace wan::store {
namespace {

constexpr std::uint64_t max_owner_bytes = 64U << 10;
/// Stands in place of the heartbeat's counter, which has the same length.
constexpr std::string_view copy_mark = "copy of an owner";

ClaimLink make_copy(const std::filesystem::path& owner, const std::filesystem::path& claim) {
  std::string text = read_text_file(owner, max_owner_bytes);
  if (text.size() < copy_mark.size()) fail("{} is damaged: it is too short", printable(owner.string()));
  text.replace(0, copy_mark.size(), copy_mark);
  const UniqueFd file(::open(claim.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!file && errno == EEXIST) return ClaimLink::taken;
  if (!file) fail_to_write("make the claim", printable(claim.string()), errno);
  const ssize_t written = ::write(file.get(), text.data(), text.size());
  const int error = written < 0 ? errno : ENOSPC;
  if (written == std::ssize(text)) {
    // Other hosts of a network file system see the copy sooner. Failure does no harm.
    ::fsync(file.get());
    return ClaimLink::made;
  }
  ::unlink(claim.c_str());
  fail_to_write("write the claim", printable(claim.string()), error);
}

}  // namespace

ClaimLink make_claim_link(const std::filesystem::path& owner, const std::filesystem::path& claim) {
  if (::link(owner.c_str(), claim.c_str()) == 0) return ClaimLink::made;
  const int error = errno;
  if (error == EEXIST) return ClaimLink::taken;
  if (means_no_hard_links(error)) return make_copy(owner, claim);
  // A network file system may have made the link and lost the answer.
  if (::access(claim.c_str(), F_OK) == 0) return ClaimLink::taken;
  fail_to_write("make the claim", printable(claim.string()), error);
}

bool is_claim_copy(std::string_view content) { return content.starts_with(copy_mark); }

}  // namespace wan::store
