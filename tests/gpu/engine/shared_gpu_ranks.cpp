#include "gpu/engine/shared_gpu_ranks.h"

namespace wan::test {
namespace {

// Made before GoogleTest starts.
const SharedGpuRanks& registered = shared_gpu_ranks();

}  // namespace

SharedGpuRanks& shared_gpu_ranks() {
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): GoogleTest owns it
  static testing::Environment* shared = testing::AddGlobalTestEnvironment(new SharedGpuRanks);
  return static_cast<SharedGpuRanks&>(*shared);
}

SharedGpuRanks::Made& SharedGpuRanks::made() {
  if (!made_) made_ = std::make_unique<Made>();
  return *made_;
}

GpuRanks& SharedGpuRanks::ranks() { return made().ranks; }

const launch::RunDevice& SharedGpuRanks::device(launch::Precision precision) {
  Made& all = made();
  const auto found = all.devices.find(precision);
  if (found != all.devices.end()) return found->second;
  return all.devices.emplace(precision, all.ranks.device(precision)).first->second;
}

parallel::GroupCommunicators SharedGpuRanks::communicators(const comm::GridShape& shape, std::int64_t heads) {
  const launch::RunLayout layout{.guided = shape, .unguided = parallel::unguided_shape(shape, {}, heads)};
  // The communicators carry bytes: of the device they only ask whether it is a GPU, in each precision.
  const launch::RunDevice& device = this->device(launch::Precision::bf16);
  Made& all = made();
  if (!all.communicators) all.communicators = all.ranks.communicators(device);
  auto& group =
      all.groups[{layout.guided.cfg, layout.guided.ulysses, layout.unguided.cfg, layout.unguided.ulysses}];
  if (!group) {
    constexpr double timeout_s = 60;
    group = std::make_shared<parallel::GroupCommunicators>(all.communicators->make_group(layout, timeout_s));
  }
  return lend(group);
}

}  // namespace wan::test
