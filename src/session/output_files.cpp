#include "session/output_files.h"

#include <string>
#include <system_error>

#include "core/check.h"
#include "core/file.h"
#include "core/place.h"
#include "core/strings.h"

namespace wan::session {
namespace {

void require_place(const std::filesystem::path& path, const char* what) {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::absolute(path, error).parent_path();
  if (error || !path.has_filename())
    fail_item("write", "{}: '{}' is no name of a file", what, printable(path.string()));
  if (!std::filesystem::is_directory(folder, error)) {
    fail_item("write", "{} {}: there is no folder {}; make it first", what, printable(path.string()),
              printable(folder.string()));
  }
  if (const std::string problem = in_the_way_of_file(path, what); !problem.empty())
    fail_item("write", "{}", problem);
}

std::filesystem::path temporary_name(const std::filesystem::path& path, const std::string& token) {
  return path.parent_path() /
         fmt::format(".{}.wan-{}", path.stem().string(), token).append(path.extension().string());
}

}  // namespace

OutputFiles::OutputFiles(const SessionOutputs& outputs) : final_(outputs) {
  if (outputs.video.empty()) fail_item("write", "SessionOutputs::video is empty: name the video's file");
  require_place(outputs.video, "the video");
  if (!outputs.latents.empty()) require_place(outputs.latents, "the latents");
  if (outputs.latents.lexically_normal() == outputs.video.lexically_normal()) {
    fail_item("write", "SessionOutputs: the video and the latents have one name, {}; give each its own",
              printable(outputs.video.string()));
  }
  const std::string token = random_token();
  temporary_.video = temporary_name(outputs.video, token);
  if (!outputs.latents.empty()) temporary_.latents = temporary_name(outputs.latents, token);
}

OutputFiles::~OutputFiles() {
  std::error_code gone;
  for (const auto& path : {temporary_.video, temporary_.latents})
    if (!path.empty()) std::filesystem::remove(path, gone);
}

void OutputFiles::publish() const {
  try {
    if (!final_.latents.empty()) publish_file(temporary_.latents, final_.latents);
    publish_file(temporary_.video, final_.video);
  } catch (const ItemError&) {
    throw;
  } catch (const Error& error) {
    throw ItemError("write", error.what());
  }
}

}  // namespace wan::session
