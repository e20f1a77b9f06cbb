#include "gpu/kernel_profile.h"

#include <fmt/format.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <cctype>
#include <map>

namespace wan::gpu {
namespace {

namespace profiler = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;

constexpr std::size_t longest_name = 72;
constexpr double smallest_share = 1e-3;

/// The end of the name proper: where the arguments begin, outside of template arguments.
std::size_t arguments_at(std::string_view name) {
  int depth = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (name[i] == '(' && depth == 0) return i;
  }
  return name.size();
}

bool is_part_of_word(char letter) {
  return std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '_';
}

}  // namespace

std::string short_kernel_name(std::string_view name) {
  std::string text(name);
  constexpr std::string_view unnamed = "(anonymous namespace)::";
  for (std::size_t at = text.find(unnamed); at != std::string::npos; at = text.find(unnamed, at))
    text.erase(at, unnamed.size());
  text.erase(arguments_at(text));
  text.erase(text.find_last_not_of(' ') + 1);
  std::string result;
  std::size_t word = 0;  // where the current word begins in `result`
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 2, "::") == 0) {
      result.erase(word);
      ++i;
      continue;
    }
    result += text[i];
    if (!is_part_of_word(text[i])) word = result.size();
  }
  if (result.starts_with("void ")) result.erase(0, 5);
  if (result.size() > longest_name) result.replace(longest_name - 3, std::string::npos, "...");
  return result;
}

std::vector<KernelUse> sum_by_name(const std::vector<KernelUse>& uses) {
  std::map<std::string, KernelUse> sums;
  for (const KernelUse& use : uses) {
    KernelUse& sum = sums[use.name];
    sum.name = use.name;
    sum.calls += use.calls;
    sum.ms += use.ms;
  }
  std::vector<KernelUse> result;
  result.reserve(sums.size());
  for (auto& [name, sum] : sums) result.push_back(std::move(sum));
  std::ranges::stable_sort(result, [](const KernelUse& a, const KernelUse& b) { return a.ms > b.ms; });
  return result;
}

std::string kernel_table(std::string_view title, const std::vector<KernelUse>& uses) {
  KernelUse all{.name = "all"};
  for (const KernelUse& use : uses) {
    all.calls += use.calls;
    all.ms += use.ms;
  }
  const auto row = [&](const KernelUse& use) {
    return fmt::format("  {:<{}} {:>7} {:>11.3f} {:>6.1f}\n", use.name, longest_name, use.calls, use.ms,
                       all.ms > 0 ? 100 * use.ms / all.ms : 0.0);
  };
  std::string text =
      fmt::format("{}\n  {:<{}} {:>7} {:>11} {:>6}\n", title, "kernel", longest_name, "calls", "ms", "%");
  KernelUse rest{.name = "others"};
  for (const KernelUse& use : uses) {
    if (use.ms >= smallest_share * all.ms) {
      text += row(use);
    } else {
      rest.calls += use.calls;
      rest.ms += use.ms;
    }
  }
  if (rest.calls > 0) text += row(rest);
  return text + row(all);
}

KernelProfile::KernelProfile() {
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  const std::set<ActivityType> activities{ActivityType::CUDA};
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
}

KernelProfile::~KernelProfile() {
  try {
    if (is_running_) profiler::disableProfiler();
  } catch (const std::exception&) {  // nobody is there to hear it
  }
}

std::vector<KernelUse> KernelProfile::stop() {
  is_running_ = false;
  std::vector<KernelUse> uses;
  const auto result = profiler::disableProfiler();  // waits for the GPU
  for (const profiler::KinetoEvent& event : result->events()) {
    if (event.deviceType() != c10::DeviceType::CUDA) continue;
    uses.push_back({.name = short_kernel_name(event.name()),
                    .calls = 1,
                    .ms = static_cast<double>(event.durationNs()) / 1e6});
  }
  return sum_by_name(uses);
}

}  // namespace wan::gpu
