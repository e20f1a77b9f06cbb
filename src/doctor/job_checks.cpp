#include "doctor/job_checks.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "comm/mpi/default_binding.h"
#include "core/check.h"
#include "core/cpu_list.h"
#include "core/strings.h"

namespace wan::doctor {
namespace {

using nlohmann::json;

/// Hosts on which the ranks need more GPUs than the host shows them.
std::vector<Finding> check_ranks_per_gpu(std::span<const RankFacts> ranks) {
  std::map<std::string, int> ranks_on;
  for (const RankFacts& rank : ranks) ++ranks_on[rank.host];
  std::vector<Finding> findings;
  std::set<std::string> seen;
  for (const RankFacts& rank : ranks) {
    if (rank.visible_gpus == 0 || !seen.insert(rank.host).second) continue;
    const int own = ranks_on[rank.host];
    const std::string found =
        fmt::format("{}: {} rank{}, {} GPU{} visible", printable(rank.host, 80), own, own == 1 ? "" : "s",
                    rank.visible_gpus, rank.visible_gpus == 1 ? "" : "s");
    if (rank.visible_gpus > 1 && own > rank.visible_gpus) {
      findings.push_back(
          bad("ranks and GPUs", found,
              fmt::format("start one rank per GPU: --ntasks-per-node={}, or mpirun --map-by ppr:{}:node",
                          rank.visible_gpus, rank.visible_gpus)));
    } else if (ranks.size() > 1 && own < rank.visible_gpus) {
      findings.push_back(
          warn("ranks and GPUs", found + ": some are not used",
               fmt::format("start one rank per GPU: --ntasks-per-node={}", rank.visible_gpus)));
    }
  }
  return findings;
}

std::vector<Finding> check_shared_gpus(std::span<const RankFacts> ranks) {
  std::map<std::pair<std::string, std::string>, int> owner;
  std::vector<Finding> findings;
  for (const RankFacts& rank : ranks) {
    if (rank.gpu_bus_id.empty()) continue;
    const auto [found, is_new] = owner.try_emplace({rank.host, rank.gpu_bus_id}, rank.rank);
    if (is_new) continue;
    findings.push_back(
        bad("ranks and GPUs",
            fmt::format("ranks {} and {} on {} have the same GPU ({})", found->second, rank.rank,
                        printable(rank.host, 80), rank.gpu_bus_id),
            "show all GPUs to all ranks (--gpus-per-node=N), or let the launcher bind one to each"));
  }
  return findings;
}

/// Different GPUs: the slowest one determines the speed, and the smallest one what fits into memory.
std::vector<Finding> check_alike(std::span<const RankFacts> ranks) {
  std::vector<Finding> findings;
  const RankFacts& first = ranks.front();
  constexpr double tolerance = 0.95;
  for (const RankFacts& rank : ranks) {
    const auto [least, most] = std::minmax(first.gpu_bytes, rank.gpu_bytes);
    const bool same_size = static_cast<double>(least) >= tolerance * static_cast<double>(most);
    if (rank.gpu_name == first.gpu_name && same_size) continue;
    const auto text = [](const RankFacts& r) {
      return r.gpu_bus_id.empty()
                 ? fmt::format("rank {} none", r.rank)
                 : fmt::format("rank {} {} of {}", r.rank, r.gpu_name, bytes_text(r.gpu_bytes));
    };
    findings.push_back(bad("same GPUs", fmt::format("{}, {}", text(first), text(rank)),
                           "use GPUs of one kind: --constraint, --gres=gpu:TYPE:N or CUDA_VISIBLE_DEVICES"));
    break;
  }
  for (const RankFacts& rank : ranks) {
    if (rank.version == first.version) continue;
    findings.push_back(bad("same program",
                           fmt::format("version {} on rank {}, {} on rank {}", first.version, first.rank,
                                       rank.version, rank.rank),
                           "install the same build on every node"));
    break;
  }
  return findings;
}

/// Two ranks that are bound to the same few cores slow each other down.
std::vector<Finding> check_bindings(std::span<const RankFacts> ranks) {
  std::map<std::pair<std::string, std::string>, int> owner;
  for (const RankFacts& rank : ranks) {
    if (rank.bound_cores.empty()) continue;
    const auto [found, is_new] = owner.try_emplace({rank.host, rank.bound_cores}, rank.rank);
    if (is_new) continue;
    return {warn("CPU binding",
                 fmt::format("ranks {} and {} on {} are both bound to cores {}", found->second, rank.rank,
                             printable(rank.host, 80), rank.bound_cores),
                 "mpirun --bind-to core --map-by slot:PE=N, or srun --cpus-per-task=N --cpu-bind=cores")};
  }
  return {};
}

}  // namespace

std::vector<Finding> check_slurm(const Environment& environment, int visible_gpus, int local_ranks) {
  if (value_of(environment, "SLURM_JOB_ID").empty()) return {};
  std::vector<Finding> findings;
  const auto gpus = number_of(environment, "SLURM_GPUS_ON_NODE");
  if (!value_of(environment, "SLURM_GPUS_PER_TASK").empty() && local_ranks > 1) {
    findings.push_back(warn("Slurm", "--gpus-per-task hides a rank's GPU from the others: no peer access",
                            "request GPUs with --gpus-per-node=N, without --gpus-per-task"));
  } else if (gpus && visible_gpus > 0 && visible_gpus < *gpus && local_ranks > 1) {
    findings.push_back(
        warn("Slurm",
             fmt::format("the job has {} GPUs on this node, and this rank sees {}: no peer access to "
                         "the rest",
                         *gpus, visible_gpus),
             "leave --gpu-bind and --gpus-per-task out (or --gpu-bind=none)"));
  }
  if (value_of(environment, "SLURM_EXPORT_ENV") == "NONE") {
    findings.push_back(warn("Slurm",
                            "SLURM_EXPORT_ENV=NONE: srun starts the ranks without the script's variables",
                            "unset SLURM_EXPORT_ENV in the script, or srun --export=ALL"));
  }
  const auto memory_mib = number_of(environment, "SLURM_MEM_PER_NODE");
  constexpr std::int64_t needed_mib = 2048;
  if (memory_mib && *memory_mib > 0 && *memory_mib < needed_mib * std::max(1, local_ranks)) {
    findings.push_back(warn("Slurm",
                            fmt::format("--mem: {} MiB for {} rank{} of this node", *memory_mib, local_ranks,
                                        local_ranks == 1 ? "" : "s"),
                            fmt::format("--mem={}G or more", 2 * std::max(1, local_ranks))));
  }
  if (findings.empty()) {
    findings.push_back(
        ok("Slurm", fmt::format("job {}", printable(value_of(environment, "SLURM_JOB_ID"), 40))));
  }
  return findings;
}

std::string to_json(const RankFacts& facts) {
  const json fields{{"rank", facts.rank},
                    {"host", facts.host},
                    {"version", facts.version},
                    {"local_rank", facts.local_rank},
                    {"visible_gpus", facts.visible_gpus},
                    {"gpu_bus_id", facts.gpu_bus_id},
                    {"gpu_name", facts.gpu_name},
                    {"gpu_bytes", facts.gpu_bytes},
                    {"bound_cores", facts.bound_cores}};
  return fields.dump(-1, ' ', false, json::error_handler_t::replace);
}

RankFacts rank_facts_from_json(std::string_view text) {
  try {
    const json fields = json::parse(text);
    return {.rank = fields.at("rank"),
            .host = fields.at("host"),
            .version = fields.at("version"),
            .local_rank = fields.at("local_rank"),
            .visible_gpus = fields.at("visible_gpus"),
            .gpu_bus_id = fields.at("gpu_bus_id"),
            .gpu_name = fields.at("gpu_name"),
            .gpu_bytes = fields.at("gpu_bytes"),
            .bound_cores = fields.at("bound_cores")};
  } catch (const json::exception& error) {
    fail("a rank's facts cannot be read: {}", error.what());
  }
}

std::string bound_cores_text() {
  if (comm::cpus_before_default_binding(read_environment(), "/proc", "self")) return {};
  const std::set<int> cpus = own_cpus();
  return std::ssize(cpus) < ::sysconf(_SC_NPROCESSORS_ONLN) ? cpu_list_text(cpus) : std::string();
}

std::vector<Finding> check_job(std::span<const RankFacts> ranks, const Environment& environment) {
  std::vector<Finding> findings = check_ranks_per_gpu(ranks);
  const auto add = [&](std::vector<Finding> more) { std::ranges::move(more, std::back_inserter(findings)); };
  add(check_shared_gpus(ranks));
  add(check_alike(ranks));
  add(check_bindings(ranks));
  std::set<std::string> hosts;
  for (const RankFacts& rank : ranks) hosts.insert(rank.host);
  const auto nodes = number_of(environment, "SLURM_JOB_NUM_NODES");
  if (nodes && *nodes > std::ssize(hosts) && ranks.size() > 1) {
    findings.push_back(warn("nodes",
                            fmt::format("the job has {} nodes, and ranks run on {}", *nodes, hosts.size()),
                            "start ranks on all of them: --ntasks-per-node, or mpirun --map-by ppr:N:node"));
  }
  if (findings.empty()) {
    findings.push_back(
        ok("job", fmt::format("{} rank{} on {} host{}", ranks.size(), ranks.size() == 1 ? "" : "s",
                              hosts.size(), hosts.size() == 1 ? "" : "s")));
  }
  return findings;
}

}  // namespace wan::doctor
