// The GPU layer of a build without CUDA. It reports that there is no GPU. Callers ask visible_gpus() first,
// so they never reach the functions that need one.
#include "core/check.h"
#include "gpu/background_copies.h"
#include "gpu/device.h"
#include "gpu/late_copy.h"
#include "gpu/memory.h"
#include "gpu/part_timer.h"
#include "gpu/upload.h"

namespace wan::gpu {
namespace {

[[noreturn]] void fail_without_cuda() { fail("internal: GPU code was reached in a build without CUDA"); }

}  // namespace

bool is_built_in() { return false; }
std::string_view built_architectures() { return {}; }
CudaVersions cuda_versions() { return {}; }
VisibleGpus visible_gpus() { return {.count = 0, .reason = "this program was built without CUDA"}; }
DeviceInfo open_device(int /*index*/) { fail_without_cuda(); }
void require_code(const DeviceInfo& /*device*/) { fail_without_cuda(); }
bool can_access_peer(int /*index*/, int /*peer*/) { fail_without_cuda(); }
void forbid_tf32_products() { fail_without_cuda(); }
void sum_fp16_products_in_fp32() { fail_without_cuda(); }
at::Generator make_generator(int /*index*/, std::uint64_t /*seed*/) { fail_without_cuda(); }
void synchronize() { fail_without_cuda(); }
void wait_for_compute() { fail_without_cuda(); }

MemoryUse memory_use(int /*device*/) { fail_without_cuda(); }
void reset_peak(int /*device*/) { fail_without_cuda(); }
std::uint64_t used_bytes() { fail_without_cuda(); }
bool has_room(std::int64_t /*bytes*/) { fail_without_cuda(); }
void release_unused() { fail_without_cuda(); }
void release_where_scarce() { fail_without_cuda(); }
void use_expandable_segments() { fail_without_cuda(); }
at::Tensor make_pinned(at::IntArrayRef /*shape*/, at::ScalarType /*type*/) { fail_without_cuda(); }

struct Upload::Slots {};
Upload::Upload() { fail_without_cuda(); }
Upload::~Upload() = default;
void Upload::fill(const at::Tensor& /*out*/, const Make& /*make*/) { fail_without_cuda(); }

struct BackgroundCopies::State {};
BackgroundCopies::BackgroundCopies(std::size_t /*places*/) { fail_without_cuda(); }
BackgroundCopies::~BackgroundCopies() = default;
void BackgroundCopies::start(std::size_t /*place*/, const at::Tensor& /*out*/, const at::Tensor& /*host*/) {
  fail_without_cuda();
}
bool BackgroundCopies::is_open(std::size_t /*place*/) const { fail_without_cuda(); }
void BackgroundCopies::await(std::size_t /*place*/) { fail_without_cuda(); }
void BackgroundCopies::finish() const noexcept {}

struct LateCopy::State {};
LateCopy::LateCopy() = default;
LateCopy::~LateCopy() = default;
void LateCopy::begin(const at::Tensor& /*values*/, std::int64_t /*room*/) { fail_without_cuda(); }
bool LateCopy::is_under_way() const { return false; }
at::Tensor LateCopy::finish() { fail_without_cuda(); }

class PartTimer::Events {};
PartTimer::PartTimer() { fail_without_cuda(); }
PartTimer::~PartTimer() = default;
void PartTimer::on_part(std::optional<Part> /*part*/) {}
std::array<double, part_count> PartTimer::take() { fail_without_cuda(); }

Range::Range(const char* /*name*/) {}
Range::~Range() = default;

}  // namespace wan::gpu
