#include "launch/bind_cores.h"

#include <fmt/format.h>
#include <sched.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <set>
#include <span>
#include <vector>

#include "comm/mpi/default_binding.h"
#include "core/cpu_list.h"
#include "core/environment.h"
#include "launch/core_division.h"

namespace wan::launch {
namespace {

/// The facts that ranks send each other, byte by byte.
struct BindingCard {
  std::int32_t node = 0;
  std::int32_t may_divide = 0;  ///< 1: nobody chose the cores of this rank
  cpu_set_t allowed{};          ///< cores of the node out of which the rank may get its share
  std::array<char, 32> bus_id{};
};

cpu_set_t mask_of(const std::set<int>& cpus) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (const int cpu : cpus) CPU_SET(cpu, &mask);
  return mask;
}

/// Also the threads of libraries that have started. A thread that ends meanwhile is no loss.
void bind_all_threads(const std::set<int>& cpus) {
  const cpu_set_t mask = mask_of(cpus);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task", error)) {
    const int thread =
        std::atoi(entry.path().filename().c_str());  // NOLINT(cert-err34-c): the kernel's number
    if (thread > 0) ::sched_setaffinity(thread, sizeof mask, &mask);
  }
}

/// The CPUs out of which this rank may get its share. Empty: it keeps what it has.
std::set<int> divisible_cpus(const Environment& environment) {
  const std::string choice = value_of(environment, "WAN_BIND");
  if (choice == "gpu") return own_cpus();
  if (!choice.empty()) return {};
  return comm::cpus_before_default_binding(environment, "/proc", "self").value_or(std::set<int>());
}

std::vector<BindingCard> exchange(comm::Communicator& world, const BindingCard& own) {
  std::vector<BindingCard> cards(static_cast<std::size_t>(world.size()));
  world.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(cards))).wait();
  return cards;
}

}  // namespace

std::string bind_cores(comm::Communicator& world, const comm::MpiRanks& ranks, const std::string& bus_id) {
  const Environment environment = read_environment();
  const std::set<int> allowed = divisible_cpus(environment);
  BindingCard own{
      .node = ranks.node(), .may_divide = allowed.empty() ? 0 : 1, .allowed = mask_of(allowed), .bus_id = {}};
  std::strncpy(own.bus_id.data(), bus_id.c_str(), own.bus_id.size() - 1);
  std::vector<GpuPlace> places;
  std::size_t own_index = 0;
  const std::vector<BindingCard> cards = exchange(world, own);
  for (std::size_t rank = 0; rank < cards.size(); ++rank) {
    const BindingCard& card = cards[rank];
    if (card.node != own.node) continue;
    if (card.may_divide == 0) return {};
    if (!CPU_EQUAL(&card.allowed, &own.allowed)) {
      return "cores: the launcher has divided them; the ranks keep what they have";
    }
    if (static_cast<int>(rank) == world.rank()) own_index = places.size();
    places.push_back(read_gpu_place("/sys", card.bus_id.data()));
  }
  // Without control groups or an affinity plugin, the ranks may also run on the cores of other jobs.
  const auto given = number_of(environment, "SLURM_CPUS_ON_NODE");
  if (given && *given < std::ssize(allowed)) {
    return fmt::format(
        "cores: the job has {} CPUs of this node, and Slurm does not say which; the ranks keep what they "
        "have",
        *given);
  }
  const std::vector<Core> cores = read_cores("/sys", allowed);
  const auto shares = divide_cores(cores, places);
  if (shares.empty()) {
    return fmt::format("cores: the {} ranks of this node share its {} cores", places.size(), cores.size());
  }
  bind_all_threads(shares[own_index]);
  std::set<int> idle = allowed;
  for (const std::set<int>& share : shares) {
    for (const int cpu : share) idle.erase(cpu);
  }
  std::string text = fmt::format("cores: rank {} has CPUs {} of this node's {}", world.rank(),
                                 cpu_list_text(shares[own_index]), cpu_list_text(allowed));
  if (!idle.empty())
    text += fmt::format("; no rank has CPUs {}, on a socket without GPUs of this run", cpu_list_text(idle));
  return text;
}

}  // namespace wan::launch
