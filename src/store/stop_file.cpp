#include "store/stop_file.h"

#include <chrono>
#include <utility>

#include "core/check.h"
#include "core/printable.h"

namespace wan::store {
namespace {

constexpr double look_period_s = 1;

double steady_now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::filesystem::path stop_file(const std::filesystem::path& output_folder) { return output_folder / "STOP"; }

bool has_stop_file(const std::filesystem::path& output_folder) {
  std::error_code error;
  const auto type = std::filesystem::symlink_status(stop_file(output_folder), error).type();
  return type != std::filesystem::file_type::none && type != std::filesystem::file_type::not_found;
}

void require_no_stop_file(const std::filesystem::path& output_folder) {
  if (!has_stop_file(output_folder)) return;
  const std::string path = printable(stop_file(output_folder).string());
  fail<UsageError>("{} is there: somebody has stopped the work in this folder. Remove that file to go on",
                   path);
}

StopFileWatch::StopFileWatch(std::filesystem::path output_folder, std::function<double()> now_s)
    : output_folder_(std::move(output_folder)), now_s_(now_s ? std::move(now_s) : steady_now_s) {}

bool StopFileWatch::has_seen_file() {
  if (has_seen_file_) return true;
  const double now_s = now_s_();
  if (last_look_s_ && now_s < *last_look_s_ + look_period_s) return false;
  last_look_s_ = now_s;
  has_seen_file_ = has_stop_file(output_folder_);
  return has_seen_file_;
}

}  // namespace wan::store
