#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace wan::gpu {

/// All launches of one kernel, or all copies of one kind, in a profile.
struct KernelUse {
  std::string name;
  std::int64_t calls = 0;
  double ms = 0;  ///< on the device
};

/// The kernel's name without its namespaces, its return type and its arguments; template arguments stay, and
/// what follows the first 72 characters is left out.
std::string short_kernel_name(std::string_view name);

/// Adds uses of equal names together. The longest comes first; equal ones are sorted by name.
std::vector<KernelUse> sum_by_name(const std::vector<KernelUse>& uses);

/// A table for people: name, calls, ms and the share of all. `title` is its first line. Rows below a
/// thousandth of the whole are one row.
std::string kernel_table(std::string_view title, const std::vector<KernelUse>& uses);

/// Records what this process runs on its GPU, through LibTorch's profiler and CUPTI, between its construction
/// and stop(). There is one at a time. It costs a little time for each launch, so nothing is timed meanwhile.
class KernelProfile {
 public:
  KernelProfile();
  ~KernelProfile();
  KernelProfile(const KernelProfile&) = delete;
  KernelProfile& operator=(const KernelProfile&) = delete;
  KernelProfile(KernelProfile&&) = delete;
  KernelProfile& operator=(KernelProfile&&) = delete;

  /// Waits for the GPU and returns what ran, summed by short name. Empty where CUPTI records nothing.
  std::vector<KernelUse> stop();

 private:
  bool is_running_ = true;
};

}  // namespace wan::gpu
