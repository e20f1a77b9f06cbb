#include "store/claim_owner.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "core/check.h"
#include "core/file.h"
#include "core/strings.h"
#include "store/claim_link.h"
#include "store/output_folder.h"

namespace wan::store {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_claim_bytes = 64U << 10;
constexpr std::size_t counter_digits = 16;
constexpr int progress_index = 2;
constexpr int request_index = 3;

/// The lines of an owner file are: counter, owner, progress, request. Returns an empty text if there is no
/// such line.
std::string_view line_of(std::string_view content, int index) {
  for (int line = 0; line < index; ++line) {
    const std::size_t end = content.find('\n');
    if (end == std::string_view::npos) return {};
    content.remove_prefix(end + 1);
  }
  return content.substr(0, content.find('\n'));
}

/// The content of the claim file itself; nothing if it is gone. Something that is no file reads as empty, and
/// so becomes stale like any other silent claim.
std::optional<std::string> read_claim_file(const std::filesystem::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return std::nullopt;
  if (!S_ISREG(status.st_mode)) return std::string();
  try {
    return read_text_file(path, max_claim_bytes);
  } catch (const Error&) {
    if (::lstat(path.c_str(), &status) != 0) return std::nullopt;
    // The file belongs to another user and may not be read; only the time of its last beat can be seen.
    if (::access(path.c_str(), R_OK) == 0) return std::string();
    return fmt::format("changed at {}.{:09}", status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  }
}

/// A process that has ended and whose parent has not asked for its exit code. That may last for ever: the
/// first process of a container may never ask.
bool is_zombie(std::int64_t pid) {
  std::array<char, 512> text{};
  const UniqueFd file(::open(fmt::format("/proc/{}/stat", pid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size <= 0) return false;
  // "PID (NAME) STATE ...", and the name may hold brackets of its own.
  const std::string_view stat(text.data(), static_cast<std::size_t>(size));
  const std::size_t name_end = stat.rfind(')');
  return name_end != std::string_view::npos && stat.substr(name_end).starts_with(") Z");
}

/// The part of a machine's name that changes when it is restarted. Process namespaces may come and go.
std::string_view boot_of(std::string_view machine) { return machine.substr(0, machine.find(' ')); }

}  // namespace

std::string progress_line(const json& fields) {
  std::string text = fields.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > progress_columns) {
    json short_fields = json::object();
    for (const char* key : {"told_to_stop", "writing"})
      if (fields.contains(key)) short_fields[key] = fields[key];
    text = short_fields.dump();
  }
  return fmt::format("{:<{}}\n", text, progress_columns);
}

std::string request_line(std::string_view request) {
  return fmt::format("{:<{}}\n", request, request_columns);
}

std::string request_for(std::string_view content, std::string_view id) {
  // The line is about the item that was claimed last. The items that are being written were claimed before.
  const json progress = json::parse(line_of(content, progress_index), nullptr, false);
  const auto writing = progress.find("writing");
  if (progress.is_object() && writing != progress.end()) {
    const auto item = progress.find("id");
    if (item == progress.end() || *item != id) return {};
  }
  return std::string(trim(line_of(content, request_index)));
}

std::string counter_text(std::uint64_t count) { return fmt::format("{:0{}}\n", count, counter_digits); }

std::string owner_text(const ClaimOwner& owner) {
  const json fields{{"host", owner.host}, {"pid", owner.pid},         {"job", owner.job},
                    {"run", owner.run},   {"machine", owner.machine}, {"token", owner.token}};
  return counter_text(0) + fields.dump(-1, ' ', false, json::error_handler_t::replace) + "\n" +
         progress_line(json::object()) + request_line({});
}

std::optional<ClaimOwner> parse_owner(std::string_view content) {
  try {
    content.remove_prefix(std::min(content.size(), counter_digits + 1));
    const json fields = json::parse(content.substr(0, content.find('\n')));
    ClaimOwner owner{.host = fields.at("host"),
                     .pid = fields.at("pid"),
                     .job = fields.at("job"),
                     .run = fields.at("run"),
                     .machine = fields.at("machine"),
                     .token = fields.at("token")};
    if (!is_token(owner.token)) return std::nullopt;
    return owner;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

std::string describe(std::string_view content) {
  const auto owner = parse_owner(content);
  if (!owner) return "an unknown owner";
  return printable(fmt::format("{}, process {}{}", owner->host, owner->pid,
                               owner->job.empty() ? std::string() : fmt::format(", job {}", owner->job)));
}

std::optional<std::string> read_claim(const std::filesystem::path& path) {
  std::optional<std::string> content = read_claim_file(path);
  if (!content || !is_claim_copy(*content)) return content;
  const auto owner = parse_owner(*content);
  if (!owner) return content;
  std::optional<std::string> beating = read_claim_file(owner_file(path.parent_path(), owner->token));
  return beating && parse_owner(*beating) ? beating : content;
}

std::optional<std::string> copied_token(const std::filesystem::path& path) {
  const std::optional<std::string> content = read_claim_file(path);
  if (!content || !is_claim_copy(*content)) return std::nullopt;
  const auto owner = parse_owner(*content);
  return owner ? std::optional(owner->token) : std::nullopt;
}

bool is_there(const std::filesystem::path& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

bool is_claim_file(const std::filesystem::path& path) {
  const auto content = read_claim(path);
  return content && plain_file_size(path) && (content->empty() || parse_owner(*content));
}

bool has_died(const ClaimOwner& owner, const ClaimOwner& self) {
  if (self.machine.empty() || owner.machine != self.machine || owner.pid <= 0) return false;
  return is_gone(owner.pid);
}

bool is_at_work(std::string_view content, std::string_view id) {
  const json progress = json::parse(line_of(content, progress_index), nullptr, false);
  if (!progress.is_object()) return false;
  const auto item = progress.find("id");
  const bool is_named = item != progress.end() && *item == id;
  // The other items that it held were being written.
  return is_named || progress.contains("writing");
}

DeadOwner describe_dead(const ClaimOwner& owner, std::string_view content, const std::string& id,
                        const ClaimOwner& self) {
  DeadOwner dead{
      .token = owner.token, .who = describe(content), .host = owner.host, .job = owner.job, .run = owner.run};
  dead.machine_is_up = !self.machine.empty() && boot_of(owner.machine) == boot_of(self.machine);
  const json progress = json::parse(line_of(content, progress_index), nullptr, false);
  if (!progress.is_object()) return dead;
  const auto is_true = [&](const char* key) {
    const auto found = progress.find(key);
    return found != progress.end() && found->is_boolean() && found->get<bool>();
  };
  dead.was_at_work = is_at_work(content, id);
  dead.was_told_to_stop = is_true("told_to_stop");
  return dead;
}

std::string this_machine() {
  try {
    std::array<char, 37> boot{};  // files in /proc have no size, so that read_text_file() would see nothing
    const UniqueFd file(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
    if (!file || ::read(file.get(), boot.data(), 36) != 36) return {};
    return fmt::format("{} {}", boot.data(), std::filesystem::read_symlink("/proc/self/ns/pid").string());
  } catch (const std::filesystem::filesystem_error&) {
    return {};
  }
}

bool is_gone(std::int64_t pid) {
  if (::kill(static_cast<pid_t>(pid), 0) != 0) return errno == ESRCH;
  return is_zombie(pid);
}

ClaimOwner ClaimOwner::this_process(std::string run, std::string job) {
  std::array<char, 256> host{};
  const bool is_named = ::gethostname(host.data(), host.size() - 1) == 0;
  return {.host = is_named ? host.data() : "unknown",
          .pid = ::getpid(),
          .job = std::move(job),
          .run = std::move(run),
          .machine = this_machine(),
          .token = random_token()};
}

std::filesystem::path owner_file(const std::filesystem::path& claims, std::string_view token) {
  return claims / fmt::format("{}{}", owner_prefix, token);
}

}  // namespace wan::store
