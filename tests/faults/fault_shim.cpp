// A library for LD_PRELOAD that makes one system call of a program go wrong, so that a test can end or hurt
// the program at an exact moment without a hook in the program. Used by tests/faults/*.py; the rule is in the
// environment:
//
//   WAN_FAULT       CALL|PATTERN|N|ACTION       at the N-th (from 1) CALL of this process whose path fits
//   PATTERN (fnmatch with
//                                               !(...) and the like, '*' also stands for '/'), do ACTION
//   WAN_FAULT_RANK  only in this rank (OMPI_COMM_WORLD_RANK); any rank if not set
//   WAN_FAULT_LOG   file that gets a line "RANK CALL PATH" when the fault happens
//
// CALL: link and rename (PATTERN is of the new name), unlink, open (for writing), open_to_read, fsync, write,
// and stage, which is access() of a path that begins with "stage:", by which the stub engine says where it
// is. ACTION:
// kill          this process, by SIGKILL, before the call
//         kill-after    the same, after the call
//         hold          wait for ever before the call, for a test that then kills from outside
//         hold-after    the same, after the call
//         stop          suspend this process by SIGSTOP before the call; it goes on after SIGCONT
//         stall         wait for three seconds before the call, as on a disk that stalls
//         wait          wait before the call until the test removes WAN_FAULT_LOG
//         ENOSPC, EIO, EDQUOT, EROFS, ESTALE   the call fails with this error
//         ENOSPC+       this call and every later one of the same kind and path pattern fails: the disk stays
//         full count         nothing; WAN_FAULT_LOG gets a line for each such call
#include <dlfcn.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace {

struct Rule {
  std::string call;
  std::string pattern;
  long at = 0;
  std::string action;
  bool for_this_rank = true;
  std::string rank;
  std::string log;
};

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing here sets the environment
  return value != nullptr ? value : "";
}

/// Empty if the environment asks for nothing; ends the program if what it asks for cannot be understood.
std::optional<Rule> read_rule() {
  const std::string text = from_environment("WAN_FAULT");
  if (text.empty()) return std::nullopt;
  std::array<std::string, 4> fields;
  std::size_t begin = 0;
  for (std::string& field : fields) {
    const std::size_t end = std::min(text.find('|', begin), text.size());
    field = text.substr(std::min(begin, text.size()), end - std::min(begin, text.size()));
    begin = end + 1;
  }
  Rule rule{.call = fields[0],
            .pattern = fields[1],
            .at = std::strtol(fields[2].c_str(), nullptr, 10),
            .action = fields[3],
            .for_this_rank = true,
            .rank = from_environment("OMPI_COMM_WORLD_RANK"),
            .log = from_environment("WAN_FAULT_LOG")};
  if (rule.at < 1 || rule.action.empty()) {
    constexpr std::string_view message = "WAN_FAULT is not CALL|PATTERN|N|ACTION\n";
    ::syscall(SYS_write, STDERR_FILENO, message.data(), message.size());
    ::_exit(99);
  }
  if (rule.rank.empty()) rule.rank = "0";  // a bare start
  const std::string wanted = from_environment("WAN_FAULT_RANK");
  rule.for_this_rank = wanted.empty() || wanted == rule.rank;
  return rule;
}

const std::optional<Rule>& rule() {
  static const std::optional<Rule> the_rule = read_rule();
  return the_rule;
}

/// By system calls alone, which no part of this library sees.
void note(const Rule& rule, const char* call, const std::string& path) {
  if (rule.log.empty()) return;
  const std::string line = rule.rank + " " + call + " " + path + "\n";
  const long file =
      ::syscall(SYS_openat, AT_FDCWD, rule.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return;
  ::syscall(SYS_write, file, line.data(), line.size());
  ::syscall(SYS_close, file);
}

/// The fault to cause at one call.
struct Fault {
  int error = 0;  ///< the call fails with it
  bool dies_after = false;
  bool holds_after = false;
};

[[noreturn]] void die() {
  ::syscall(SYS_kill, ::getpid(), SIGKILL);
  while (true) ::pause();
}

[[noreturn]] void hold() {
  while (true) ::pause();
}

int error_of(std::string_view action) {
  struct Named {
    std::string_view name;
    int error;
  };
  constexpr std::array<Named, 5> errors{
      Named{"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EDQUOT", EDQUOT}, {"EROFS", EROFS}, {"ESTALE", ESTALE}};
  for (const Named& named : errors) {
    if (action.starts_with(named.name)) return named.error;
  }
  return 0;
}

Fault fault_at(const char* call, const std::string& path) {
  static std::atomic<long> matches = 0;
  const std::optional<Rule>& wanted = rule();
  if (!wanted || !wanted->for_this_rank || wanted->call != call) return {};
  if (::fnmatch(wanted->pattern.c_str(), path.c_str(), FNM_EXTMATCH) != 0) return {};
  const long count = ++matches;
  const std::string_view action = wanted->action;
  if (action == "count") {
    note(*wanted, call, path);
    return {};
  }
  const bool repeats = action.ends_with('+');
  if (repeats ? count < wanted->at : count != wanted->at) return {};
  note(*wanted, call, path);
  if (action == "kill") die();
  if (action == "hold") hold();
  if (action == "stop") ::syscall(SYS_kill, ::getpid(), SIGSTOP);
  if (action == "stall") std::this_thread::sleep_for(std::chrono::seconds(3));
  if (action == "wait") {
    while (::syscall(SYS_faccessat, AT_FDCWD, wanted->log.c_str(), F_OK) == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return {
      .error = error_of(action), .dies_after = action == "kill-after", .holds_after = action == "hold-after"};
}

/// Makes the call between what happens before and after it.
template <typename Result, typename Call>
Result around(const char* name, const std::string& path, Call&& call) {
  const int errno_before = errno;
  const Fault fault = fault_at(name, path);
  if (fault.error != 0) {
    errno = fault.error;
    return -1;
  }
  errno = errno_before;
  const Result result = call();
  if (fault.dies_after) die();
  if (fault.holds_after) hold();
  return result;
}

std::string path_of(int file) {
  if (!rule()) return {};
  const std::string link = "/proc/self/fd/" + std::to_string(file);
  std::array<char, 4096> path{};
  const long size = ::syscall(SYS_readlinkat, AT_FDCWD, link.c_str(), path.data(), path.size());
  return size > 0 ? std::string(path.data(), static_cast<std::size_t>(size)) : std::string();
}

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

int open_around(const char* name, const char* path, int flags, mode_t mode) {
  const auto call = [&] { return next<int(const char*, int, ...)>(name)(path, flags, mode); };
  return around<int>((flags & O_ACCMODE) == O_RDONLY ? "open_to_read" : "open", path, call);
}

mode_t mode_of(int flags, va_list arguments) {
  return (flags & O_CREAT) != 0 ? static_cast<mode_t>(va_arg(arguments, int)) : 0;
}

}  // namespace

extern "C" {

int link(const char* from, const char* to) noexcept {
  return around<int>("link", to, [&] { return next<int(const char*, const char*)>("link")(from, to); });
}

int rename(const char* from, const char* to) noexcept {
  return around<int>("rename", to, [&] { return next<int(const char*, const char*)>("rename")(from, to); });
}

int unlink(const char* path) noexcept {
  return around<int>("unlink", path, [&] { return next<int(const char*)>("unlink")(path); });
}

int access(const char* path, int mode) noexcept {
  const auto call = [&] { return next<int(const char*, int)>("access")(path, mode); };
  return std::string_view(path).starts_with("stage:") ? around<int>("stage", path, call) : call();
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_around("open", path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_around("open64", path, flags, mode);
}

int fsync(int file) {
  return around<int>("fsync", path_of(file), [&] { return next<int(int)>("fsync")(file); });
}

ssize_t write(int file, const void* bytes, size_t size) {
  return around<ssize_t>("write", path_of(file),
                         [&] { return next<ssize_t(int, const void*, size_t)>("write")(file, bytes, size); });
}

ssize_t writev(int file, const iovec* parts, int count) {
  return around<ssize_t>("write", path_of(file),
                         [&] { return next<ssize_t(int, const iovec*, int)>("writev")(file, parts, count); });
}

ssize_t pwrite(int file, const void* bytes, size_t size, off_t offset) {
  return around<ssize_t>("write", path_of(file), [&] {
    return next<ssize_t(int, const void*, size_t, off_t)>("pwrite")(file, bytes, size, offset);
  });
}

ssize_t pwrite64(int file, const void* bytes, size_t size, off64_t offset) {
  return around<ssize_t>("write", path_of(file), [&] {
    return next<ssize_t(int, const void*, size_t, off64_t)>("pwrite64")(file, bytes, size, offset);
  });
}

}  // extern "C"
