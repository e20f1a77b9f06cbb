#include "comm/nccl/version.h"

#ifdef WAN_WITH_CUDA
#include <dlfcn.h>
#include <nccl.h>
#endif

namespace wan::comm {

#ifdef WAN_WITH_CUDA
std::optional<NcclVersion> nccl_version() {
  NcclVersion version{.header = NCCL_VERSION_CODE, .library = 0, .path = {}};
  if (ncclGetVersion(&version.library) != ncclSuccess) version.library = 0;
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&ncclGetVersion), &info) != 0 && info.dli_fname != nullptr)
    version.path = info.dli_fname;
  return version;
}
#else
std::optional<NcclVersion> nccl_version() { return std::nullopt; }
#endif

}  // namespace wan::comm
