#include "store/start_mark.h"

#include <unistd.h>

#include <algorithm>

namespace wan::store {
namespace {

/// The missing folders on the way to `path`, outermost first.
std::vector<std::filesystem::path> missing_folders(std::filesystem::path path) {
  std::vector<std::filesystem::path> missing;
  std::error_code error;
  while (!std::filesystem::exists(std::filesystem::symlink_status(path, error)) && path.has_relative_path()) {
    missing.push_back(path);
    path = path.parent_path();
  }
  std::ranges::reverse(missing);
  return missing;
}

}  // namespace

StartMark::StartMark(const std::filesystem::path& folder, const std::string& run, const std::string& job,
                     const ClaimTiming& timing) {
  const std::filesystem::path path = std::filesystem::absolute(folder).lexically_normal();
  for (const std::filesystem::path& inner : {path / ".claims", path / ".state"}) {
    for (const std::filesystem::path& missing : missing_folders(inner)) {
      if (std::ranges::find(created_, missing) == created_.end()) created_.push_back(missing);
    }
  }
  const OutputFolder output(folder);
  claims_ = std::make_unique<Claims>(output.claims(), ClaimOwner::this_process(run, job), timing);
  claims_->show_progress(ClaimProgress{.id = {}, .phase = "load"});
}

StartMark::~StartMark() {
  claims_.reset();
  // NOLINTNEXTLINE(modernize-loop-convert): Clang 14 refuses std::views::reverse
  for (auto folder = created_.rbegin(); folder != created_.rend(); ++folder) ::rmdir(folder->c_str());
}

}  // namespace wan::store
