#include "launch/run_device.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/environment.h"
#include "gpu/gpu_signs.h"
#include "gpu/memory.h"
#include "kernels/product_measurement.h"
#include "launch/agreement.h"
#include "launch/bind_cores.h"
#include "launch/option_names.h"
#include "launch/run_layout.h"

namespace wan::launch {
namespace {

/// The description of a GPU that ranks send each other, byte by byte.
struct GpuCard {
  std::array<char, 64> host{};
  std::array<char, 32> bus_id{};
  std::array<char, 64> name{};
  std::int32_t rank = 0;
  std::int32_t index = -1;   ///< -1: no GPU
  std::int32_t visible = 0;  ///< GPUs that the rank sees
  std::uint64_t total_bytes = 0;
};

template <std::size_t size>
void put(std::array<char, size>& field, const std::string& text) {
  std::strncpy(field.data(), text.c_str(), size - 1);
}

std::vector<GpuCard> exchange_cards(comm::Communicator& world, const GpuCard& own) {
  std::vector<GpuCard> cards(static_cast<std::size_t>(world.size()));
  world.all_gather(std::as_bytes(std::span(&own, 1)), std::as_writable_bytes(std::span(cards))).wait();
  return cards;
}

bool same_host(const GpuCard& a, const GpuCard& b) { return std::strcmp(a.host.data(), b.host.data()) == 0; }

/// Index of the GPU for this rank. A launcher that binds shows each rank one GPU; otherwise all are seen by
/// all and the local rank picks.
int pick_index(const comm::MpiRanks& ranks, int visible) {
  if (visible == 1) return 0;
  if (ranks.local_rank() >= visible) {
    fail<UsageError>(
        "{} ranks on {}, but only {} GPUs; start at most one rank per GPU (mpirun -np {}), or use --device "
        "cpu",
        ranks.local_size(), ranks.host_name(), visible, visible);
  }
  return ranks.local_rank();
}

void check_distinct(const std::vector<GpuCard>& cards) {
  for (std::size_t i = 0; i < cards.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (!same_host(cards[i], cards[j]) || cards[i].bus_id != cards[j].bus_id) continue;
      fail<UsageError>(
          "ranks {} and {} on {} have the same GPU ({}); start one rank per GPU: if there is no other, "
          "mpirun -np 1, else show all GPUs to all ranks (CUDA_VISIBLE_DEVICES) or let the launcher bind one "
          "to each",
          cards[j].rank, cards[i].rank, cards[i].host.data(), cards[i].bus_id.data());
    }
  }
}

void check_equal_memory(const std::vector<GpuCard>& cards) {
  constexpr double tolerance = 0.95;
  const auto [least, most] = std::ranges::minmax_element(cards, {}, &GpuCard::total_bytes);
  if (static_cast<double>(least->total_bytes) >= tolerance * static_cast<double>(most->total_bytes)) return;
  fail<UsageError>(
      "GPUs of different size: rank {} on {} has {:.0f} GiB, rank {} on {} has {:.0f} GiB; use GPUs of one "
      "kind, for example by CUDA_VISIBLE_DEVICES or a Slurm constraint",
      least->rank, least->host.data(), static_cast<double>(least->total_bytes) / (1 << 30), most->rank,
      most->host.data(), static_cast<double>(most->total_bytes) / (1 << 30));
}

/// Without direct access every byte between GPUs goes through host memory, at a tenth of the speed.
void check_peers(const GpuCard& own, const std::vector<GpuCard>& cards) {
  if (are_peers_switched_off()) return;
  for (const GpuCard& other : cards) {
    const bool reachable = !same_host(own, other) || own.rank == other.rank || own.visible == 1 ||
                           gpu::can_access_peer(own.index, other.index);
    if (reachable) continue;
    fail<UsageError>(
        "GPU {} of rank {} and GPU {} of rank {} on {} cannot reach each other's memory; check the topology "
        "(nvidia-smi topo -m), or accept slow transfers through the host with NCCL_P2P_DISABLE=1",
        own.index, own.rank, other.index, other.rank, own.host.data());
  }
}

at::ScalarType type_of(const Options& options) {
  if (options.precision == Precision::fp16) return at::kHalf;
  return options.precision == Precision::fp32 ? at::kFloat : at::kBFloat16;
}

/// The ranks' numbers differ, if only because they look at different moments. A layout that each rank chose
/// for its own number would not be one.
void take_least_of_all(comm::Communicator& world, RunDevice& device) {
  std::array<std::int64_t, 2> negated{-static_cast<std::int64_t>(device.memory_bytes),
                                      -static_cast<std::int64_t>(device.host_memory_bytes)};
  world.all_reduce(std::span<std::int64_t>(negated), comm::ReduceOp::max).wait();
  device.memory_bytes = static_cast<std::uint64_t>(-negated[0]);
  device.host_memory_bytes = static_cast<std::uint64_t>(-negated[1]);
}

void note(RunDevice& device, std::string text) {
  if (!text.empty()) device.notes.push_back(std::move(text));
}

/// Empty where the kernels are chosen well, or not by this program.
std::string note_of_products(const kernels::Compute& compute) {
  const kernels::ProductState state = kernels::product_state(compute.device);
  if (!state.has_kernels || compute.type == at::kFloat) return {};
  if (!state.found.problem.empty()) {
    return fmt::format(
        "matrix products: the file of measured kernels is not used: {}; wan_bench --measure-products "
        "writes it anew",
        state.found.problem);
  }
  if (!state.found.choices.empty()) return {};
  return fmt::format(
      "matrix products: nothing was measured on {} with cuBLASLt {}, so its own choice is taken; "
      "wan_bench --measure-products measures",
      state.machine.gpu, state.machine.cublas_lt);
}

RunDevice use_cpu(comm::Communicator& world, const comm::MpiRanks& ranks, bool binds) {
  RunDevice device;
  agree(world, [&] { device.memory_bytes = device.host_memory_bytes = memory_per_rank_bytes(ranks); });
  take_least_of_all(world, device);
  if (binds) note(device, bind_cores(world, ranks, ""));
  return device;
}

RunDevice use_gpu(comm::Communicator& world, const comm::MpiRanks& ranks, const Options& options,
                  int visible) {
  RunDevice device;
  GpuCard own{.rank = ranks.rank(), .visible = visible};
  agree(world, [&] {
    gpu::use_expandable_segments();
    device.gpu = gpu::open_device(pick_index(ranks, visible));
    hinting_at("--device cpu", [&] { gpu::require_code(device.gpu); });
    put(own.host, ranks.host_name());
    put(own.bus_id, device.gpu.bus_id);
    put(own.name, device.gpu.name);
    own.index = device.gpu.index;
    own.total_bytes = device.gpu.total_bytes;
  });
  const std::vector<GpuCard> cards = exchange_cards(world, own);
  agree(world, [&] {
    check_distinct(cards);
    check_equal_memory(cards);
    check_peers(own, cards);
    gpu::forbid_tf32_products();
    if (options.precision == Precision::fp16) gpu::sum_fp16_products_in_fp32();
    device.host_memory_bytes = memory_per_rank_bytes(ranks);
  });
  device.compute = {.device = at::Device(at::kCUDA, static_cast<at::DeviceIndex>(device.gpu.index)),
                    .type = type_of(options)};
  device.memory_bytes = device.gpu.free_bytes;
  device.reference_gpu = cards.front().name.data();
  take_least_of_all(world, device);
  if (!options.plan) note(device, bind_cores(world, ranks, device.gpu.bus_id));
  note(device, note_of_products(device.compute));
  return device;
}

/// Throws UsageError on a rank that sees no GPU although the run is to be on GPUs.
void require_gpu(const gpu::VisibleGpus& visible, const comm::MpiRanks& ranks, const Options& options,
                 bool some_have_one) {
  if (visible.count > 0) return;
  std::string_view context;
  if (options.device == Device::cuda) {
    context = "--device cuda: ";
  } else if (some_have_one) {
    context = "some ranks have a GPU, but ";
  }
  fail<UsageError>("{}rank {} on {} has no GPU: {}{}", context, ranks.rank(), ranks.host_name(),
                   visible.reason,
                   options.device == Device::cuda ? "" : ", or compute without GPUs (--device cpu)");
}

/// A run that was given GPUs and sees none would take days on the CPU, in silence.
void refuse_hidden_gpus(const gpu::VisibleGpus& visible) {
  const std::string signs = gpu::signs_of_gpus(read_environment());
  if (signs.empty()) return;
  fail<UsageError>(
      "{} says that there are GPUs, and this program sees none: {}. To find the cause: {}. To compute on the "
      "CPU all the same: --device cpu",
      signs, visible.reason, gpu::remedy_of_hidden_gpus());
}

}  // namespace

bool are_peers_switched_off() {
  const char* setting = std::getenv("NCCL_P2P_DISABLE");  // NOLINT(concurrency-mt-unsafe)
  return setting != nullptr && std::string_view(setting) != "0";
}

namespace {

RunDevice find_device(comm::Communicator& world, const comm::MpiRanks& ranks, const Options& options) {
  const bool plans_elsewhere = options.plan && options.gpu_memory_bytes;
  const bool binds = !options.plan && !options.dry_run;
  if (options.device == Device::cpu || plans_elsewhere) return use_cpu(world, ranks, binds);
  const bool is_automatic = options.device == Device::automatic;
  if (options.dry_run) {
    agree(world, [&] {
      // Only then is the driver asked: a login node need not have one.
      if (!is_automatic || gpu::signs_of_gpus(read_environment()).empty()) return;
      if (const gpu::VisibleGpus visible = gpu::visible_gpus(); visible.count == 0)
        refuse_hidden_gpus(visible);
    });
    return use_cpu(world, ranks, binds);
  }
  const gpu::VisibleGpus visible = gpu::visible_gpus();
  std::array<std::int64_t, 2> without{visible.count == 0, visible.driver_too_old};
  world.all_reduce(std::span<std::int64_t>(without), comm::ReduceOp::sum).wait();
  const bool some_have_one = without[0] < world.size();
  // Who has GPUs under an old driver does not expect days on the CPU.
  if (is_automatic && !some_have_one && without[1] == 0) {
    agree(world, [&] {
      if (!options.plan) refuse_hidden_gpus(visible);
    });
    return use_cpu(world, ranks, binds);
  }
  agree(world, [&] { require_gpu(visible, ranks, options, some_have_one); });
  return use_gpu(world, ranks, options, visible.count);
}

}  // namespace

RunDevice choose_device(comm::Communicator& world, const comm::MpiRanks& ranks, const Options& options) {
  RunDevice device = find_device(world, ranks, options);
  device.vae_precision = options.vae_precision;
  return device;
}

}  // namespace wan::launch
