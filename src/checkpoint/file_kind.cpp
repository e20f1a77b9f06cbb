#include "checkpoint/file_kind.h"

#include <algorithm>
#include <cctype>
#include <system_error>

#include "checkpoint/tensor_file.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

/// The beginning of a file, in lower case, without leading white space.
std::string beginning(const UniqueFd& file, const std::filesystem::path& path) {
  constexpr std::uint64_t looked_at_bytes = 256;
  std::string text(std::min(file_size_bytes(file, path), looked_at_bytes), '\0');
  read_at(file, path, 0, std::as_writable_bytes(std::span(text)));
  return text;
}

/// "HTML", or "XML", which object stores write; empty for other texts.
std::string_view page_kind(std::string text) {
  text.erase(0, text.find_first_not_of(" \t\r\n\xEF\xBB\xBF"));
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (text.starts_with("<?xml")) return "XML";
  const bool is_html =
      text.starts_with("<!doctype html") || text.starts_with("<html") || text.starts_with("<head");
  return is_html ? "HTML" : "";
}

/// Whether the file is a message in words, as hubs and proxies send.
bool is_text(std::string_view text) {
  return std::ranges::all_of(text, [](unsigned char c) { return std::isprint(c) || std::isspace(c); });
}

/// The kind of a file that cannot contain weights. Empty if it may contain some.
std::string kind_without_weights(std::string_view text) {
  constexpr std::size_t shortest_bytes = 9;  // a shorter text is too short to recognise
  constexpr std::size_t shown_bytes = 60;
  if (text.size() < shortest_bytes) return {};
  if (text.starts_with("\x1F\x8B")) return "is compressed with gzip; unpack it";
  if (text.find_first_not_of('\0') == std::string_view::npos) {
    return "begins with zeros only: its download did not finish, or the disk lost its content. Fetch it "
           "again";
  }
  if (!is_text(text)) return {};
  return fmt::format("is a text ({}): the download received a message instead of the file. Fetch it again",
                     in_quotes(text.substr(0, std::min(text.find_first_of("\r\n"), shown_bytes))));
}

}  // namespace

std::string foreign_kind(const UniqueFd& file, const std::filesystem::path& path, FileFormat expected) {
  const std::string text = beginning(file, path);
  constexpr std::size_t length_bytes = 8;  // length of a safetensors header's size field, before its '{'
  if (text.empty()) return "is empty (0 bytes): its download did not finish. Fetch it again";
  if (text.starts_with("version https://git-lfs.github.com/spec/")) {
    return "is a Git LFS pointer, which only names the file. Fetch the file itself: run 'git lfs pull' "
           "in its folder, or jobs/model_cache.py download";
  }
  if (const std::string_view page = page_kind(text); !page.empty()) {
    return fmt::format(
        "is an {} page: the download received an error or sign-in page instead of the file. Fetch it again",
        page);
  }
  if (text.starts_with("GGUF"))
    return "is a GGUF file; weights are read from .safetensors and torch.save() files";
  const bool is_zip = text.starts_with("PK\x03\x04");
  if (is_zip && expected != FileFormat::torch_archive)
    return "is a zip archive, as torch.save() writes it, but another kind of file must be at this place";
  const bool is_safetensors =
      text.size() > length_bytes && text[length_bytes] == '{' && text[length_bytes - 1] == '\0';
  if (is_safetensors && expected != FileFormat::safetensors) {
    return "is a safetensors file, but a file of torch.save() (.pth) must be at this place. Take the .pth "
           "file of the official checkpoint";
  }
  if (expected != FileFormat::json) return kind_without_weights(text);
  return {};
}

void refuse_foreign_kind(const UniqueFd& file, const std::filesystem::path& path, FileFormat expected) {
  const std::string kind = foreign_kind(file, path, expected);
  if (!kind.empty()) fail<UsageError>("{} {}", path.string(), kind);
}

std::string dangling_note(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_symlink(path, error) || std::filesystem::exists(path, error)) return {};
  const std::filesystem::path target = std::filesystem::read_symlink(path, error);
  return fmt::format(" (a link to {}, which is missing)", in_quotes(target.string()));
}

}  // namespace wan::checkpoint
