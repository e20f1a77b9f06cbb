#pragma once

#include <set>
#include <string>
#include <string_view>

namespace wan {

/// The numbers of a kernel's list, "0-3,8". Something else reads as empty.
std::set<int> parse_cpu_list(std::string_view text);

/// "0-3,8"
std::string cpu_list_text(const std::set<int>& cpus);

/// The CPUs (hardware threads) that this process may use. Empty if the kernel does not say.
std::set<int> own_cpus();

}  // namespace wan
