// A library for LD_PRELOAD that imitates file systems, containers and kernels with missing features. The
// environment selects the feature:
//
//   WAN_PLAYED   words divided by commas:
//     flock=N    flock() fails with errno N (Lustre without flock, NFS without lockd)
//     link=N     link() fails with errno N (CIFS, exFAT, many FUSE file systems)
//     dirsync=N  fsync() of a folder fails with errno N
//     inode      a link in a folder ".claims" has an inode number of its own (sshfs)
//     cma=N      process_vm_readv() and process_vm_writev() fail with errno N (containers)
#include <dlfcn.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace {

/// The number after `name=` in WAN_PLAYED; 1 for a word without a number; 0 if the word is missing.
int played(std::string_view name) {
  const char* value = std::getenv("WAN_PLAYED");  // NOLINT(concurrency-mt-unsafe): nobody sets it meanwhile
  std::string_view words = value != nullptr ? value : "";
  while (!words.empty()) {
    const std::size_t end = std::min(words.find(','), words.size());
    const std::string_view word = words.substr(0, end);
    words.remove_prefix(std::min(end + 1, words.size()));
    if (word == name) return 1;
    if (word.size() > name.size() && word.starts_with(name) && word[name.size()] == '=')
      return std::atoi(std::string(word.substr(name.size() + 1)).c_str());
  }
  return 0;
}

template <typename Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

int fail_with(int error) {
  errno = error;
  return -1;
}

void change_inode(const char* path, struct stat* status) {
  if (played("inode") != 0 && std::strstr(path, ".claim") != nullptr) status->st_ino ^= 0x55;
}

}  // namespace

extern "C" {

int flock(int descriptor, int operation) noexcept {
  if (const int error = played("flock"); error != 0) return fail_with(error);
  return next<int (*)(int, int)>("flock")(descriptor, operation);
}

int link(const char* from, const char* to) noexcept {
  if (const int error = played("link"); error != 0) return fail_with(error);
  return next<int (*)(const char*, const char*)>("link")(from, to);
}

int fsync(int descriptor) {
  struct stat status {};
  const int error = played("dirsync");
  if (error != 0 && ::fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode)) return fail_with(error);
  return next<int (*)(int)>("fsync")(descriptor);
}

int lstat(const char* path, struct stat* status) noexcept {
  const int result = next<int (*)(const char*, struct stat*)>("lstat")(path, status);
  if (result == 0) change_inode(path, status);
  return result;
}

ssize_t process_vm_readv(pid_t process, const struct iovec* local, unsigned long local_count,
                         const struct iovec* remote, unsigned long remote_count,
                         unsigned long flags) noexcept {
  if (const int error = played("cma"); error != 0) return fail_with(error);
  using Call = ssize_t (*)(pid_t, const struct iovec*, unsigned long, const struct iovec*, unsigned long,
                           unsigned long);
  return next<Call>("process_vm_readv")(process, local, local_count, remote, remote_count, flags);
}

ssize_t process_vm_writev(pid_t process, const struct iovec* local, unsigned long local_count,
                          const struct iovec* remote, unsigned long remote_count,
                          unsigned long flags) noexcept {
  if (const int error = played("cma"); error != 0) return fail_with(error);
  using Call = ssize_t (*)(pid_t, const struct iovec*, unsigned long, const struct iovec*, unsigned long,
                           unsigned long);
  return next<Call>("process_vm_writev")(process, local, local_count, remote, remote_count, flags);
}

}  // extern "C"
