#include "store/output_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/file.h"
#include "core/setting_error.h"
#include "core/strings.h"

namespace wan::store {
namespace {

constexpr std::string_view text_suffix = "json";
constexpr std::string_view video_suffix = "mp4";
constexpr std::string_view latents_suffix = "safetensors";
constexpr std::array<std::string_view, 4> hidden_suffixes{text_suffix, video_suffix, latents_suffix, "tmp"};
constexpr std::string_view own_mark = ".wan-";

void create_folder(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error && !std::filesystem::is_directory(path)) {
    fail_setting(folder_setting, "cannot create the output folder {}: {}; choose another",
                 printable(path.string()), error.message());
  }
  if (!std::filesystem::is_directory(path, error)) {
    fail_setting(folder_setting, "the output folder {} is not a folder; choose another",
                 printable(path.string()));
  }
}

}  // namespace

std::string hidden_name(std::string_view stem, std::string_view token, std::string_view suffix) {
  // The suffix stays last: the encoder chooses the container format by it.
  return fmt::format(".{}{}{}.{}", stem, own_mark, token, suffix);
}

std::optional<std::string> token_in(std::string_view name) {
  const std::size_t suffix = name.rfind('.');
  if (!name.starts_with('.') || suffix == std::string_view::npos) return std::nullopt;
  if (std::ranges::find(hidden_suffixes, name.substr(suffix + 1)) == hidden_suffixes.end())
    return std::nullopt;
  name = name.substr(0, suffix);
  const std::size_t mark = name.rfind(own_mark);
  if (mark == std::string_view::npos) return std::nullopt;
  const std::string_view token = name.substr(mark + own_mark.size());
  return is_token(token) ? std::optional<std::string>(token) : std::nullopt;
}

OutputFolder OutputFolder::view(std::filesystem::path path) {
  OutputFolder folder;
  folder.path_ = std::move(path);
  return folder;
}

OutputFolder::OutputFolder(std::filesystem::path path) : path_(std::move(path)) {
  create_folder(path_);
  for (const std::filesystem::path& folder : {claims(), states()}) {
    if (::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST) {
      fail_setting(folder_setting, "cannot write to the output folder {}: {}; choose another",
                   printable(path_.string()), std::strerror(errno));
    }
    struct stat status {};
    if (::lstat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
      fail<UsageError>("{} is in the way: it is not a folder; remove it", printable(folder.string()));
    }
  }
  const std::string token = random_token();
  for (const std::filesystem::path& folder : {path_, claims(), states()}) {
    const std::filesystem::path probe = folder / hidden_name("probe", token, text_suffix);
    try {
      create_file(probe, "");
      remove_file(probe);
    } catch (const Error& error) {
      fail_setting(folder_setting, "cannot write to the output folder {}: {}; choose another",
                   printable(path_.string()), error.what());
    }
  }
}

std::filesystem::path OutputFolder::video(std::string_view id) const {
  return path_ / fmt::format("{}.mp4", id);
}
std::filesystem::path OutputFolder::latents(std::string_view id) const {
  return path_ / fmt::format("{}.latent.safetensors", id);
}
std::filesystem::path OutputFolder::sidecar(std::string_view id) const {
  return path_ / fmt::format("{}.json", id);
}
std::filesystem::path OutputFolder::failure(std::string_view id) const {
  return path_ / fmt::format("{}.failed.json", id);
}
std::filesystem::path OutputFolder::draft_video(std::string_view id) const {
  return path_ / fmt::format("{}.draft.mp4", id);
}
std::filesystem::path OutputFolder::draft_record(std::string_view id) const {
  return path_ / fmt::format("{}.draft.json", id);
}

OutputPaths OutputFolder::temporary_outputs(std::string_view id, std::string_view token,
                                            bool with_latents) const {
  OutputPaths paths{.video = path_ / hidden_name(id, token, video_suffix), .latents = {}};
  if (with_latents) paths.latents = path_ / hidden_name(id, token, latents_suffix);
  return paths;
}

void OutputFolder::remove_temporaries(std::string_view id, std::string_view token) const {
  for (const std::string_view suffix : {video_suffix, latents_suffix}) {
    remove_file(path_ / hidden_name(id, token, suffix));
  }
  // publish_text() names its hidden file after the target.
  for (const std::filesystem::path& target : {sidecar(id), failure(id), draft_record(id)}) {
    remove_file(path_ / hidden_name(target.stem().string(), token, text_suffix));
  }
}

void OutputFolder::publish_text(const std::filesystem::path& target, std::string_view text,
                                std::string_view token, const std::function<void()>& check) const {
  const std::filesystem::path temporary = path_ / hidden_name(target.stem().string(), token, text_suffix);
  try {
    create_file(temporary, text);
    if (check) check();
    publish_file(temporary, target);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void require_writable_place(const std::filesystem::path& path, std::string_view option) {
  std::error_code unreachable;
  std::filesystem::path nearest = std::filesystem::absolute(path);
  while (!std::filesystem::exists(nearest, unreachable) && nearest.has_relative_path()) {
    nearest = nearest.parent_path();
  }
  if (!std::filesystem::is_directory(nearest, unreachable)) {
    fail<UsageError>("cannot write to the folder {}: {} is not a folder; choose another with {}",
                     printable(path.string()), printable(nearest.string()), option);
  }
  if (::access(nearest.c_str(), W_OK | X_OK) != 0) {
    fail<UsageError>("cannot write to the folder {}: {}: {}; choose another with {}",
                     printable(path.string()), printable(nearest.string()), std::strerror(errno), option);
  }
}

std::optional<std::uint64_t> plain_file_size(const std::filesystem::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return static_cast<std::uint64_t>(status.st_size);
}

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
    names.push_back(entry->path().filename().string());
  return names;
}

void remove_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    fail_to_write("remove", printable(path.string()), errno);
  }
}

void create_file(const std::filesystem::path& path, std::string_view text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!file) fail_to_write("create", printable(path.string()), errno);
  while (!text.empty()) {
    const ssize_t written = ::write(file.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int error = errno;
      ::unlink(path.c_str());
      fail_to_write("write", printable(path.string()), error);
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace wan::store
