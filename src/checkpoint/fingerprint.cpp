#include "checkpoint/fingerprint.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "core/check.h"
#include "core/checksum.h"

namespace wan::checkpoint {
namespace {

constexpr std::int64_t largest_whole = 16'384;  // elements
constexpr std::int64_t ranges = 16;
constexpr std::int64_t range_elements = 64;
constexpr std::size_t threads = 16;  // many, because they mostly wait for a file system
constexpr std::size_t digits = 32;

/// A tensor of one of the files.
struct Sample {
  std::string_view part;              ///< "vae", ...
  const std::string* name = nullptr;  ///< the official one
  const Checkpoint* file = nullptr;
  const TensorEntry* entry = nullptr;
};

/// A checksum of a tensor's values, or of samples of them.
std::string values_hash(const Sample& sample) {
  const std::int64_t elements = sample.entry->elements();
  if (!is_floating(sample.entry->dtype)) return "none";  // no model uses it
  if (elements <= largest_whole) {
    std::vector<float> values(static_cast<std::size_t>(elements));
    sample.file->read_floats(*sample.entry, 0, values);
    const auto bytes = std::as_bytes(std::span(values));
    return sha256_hex({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  std::vector<float> values(static_cast<std::size_t>(ranges * range_elements));
  for (std::int64_t range = 0; range < ranges; ++range) {
    const std::int64_t last_start = elements - range_elements;
    // In two steps, because the product would overflow for the numbers of a huge file.
    const std::int64_t start =
        last_start / (ranges - 1) * range + last_start % (ranges - 1) * range / (ranges - 1);
    sample.file->read_floats(*sample.entry, start,
                             std::span(values).subspan(static_cast<std::size_t>(range * range_elements),
                                                       static_cast<std::size_t>(range_elements)));
  }
  const auto bytes = std::as_bytes(std::span(values));
  return sha256_hex({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::string line_of(const Sample& sample) {
  const TensorEntry& entry = *sample.entry;
  return fmt::format("{} {} {} {} {}\n", sample.part, *sample.name, to_string(entry.dtype),
                     shape_text(entry.shape), values_hash(sample));
}

/// One line for each tensor, in order.
std::vector<std::string> lines_of(const std::vector<Sample>& samples) {
  std::vector<std::string> lines(samples.size());
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::exception_ptr first_error;
  const auto work = [&] {
    try {
      for (std::size_t i = next++; i < samples.size(); i = next++) lines[i] = line_of(samples[i]);
    } catch (...) {
      const std::scoped_lock lock(mutex);
      if (!first_error) first_error = std::current_exception();
      next = samples.size();
    }
  };
  {
    std::vector<std::jthread> workers;
    for (std::size_t i = 0; i < std::min(threads, samples.size()); ++i) workers.emplace_back(work);
  }
  if (first_error) std::rethrow_exception(first_error);
  return lines;
}

}  // namespace

std::string fingerprint(const CheckpointFolder& folder) {
  const std::vector<std::pair<std::string_view, Checkpoint>> files = [&] {
    std::vector<std::pair<std::string_view, Checkpoint>> opened;
    opened.reserve(folder.experts.size() + 3);
    for (const ExpertFolder& expert : folder.experts)
      opened.emplace_back(to_string(expert.expert), Checkpoint::open_part(Part::transformer, expert.path));
    opened.emplace_back("text_encoder", Checkpoint::open_part(Part::text_encoder, folder.text_encoder));
    opened.emplace_back("vae", Checkpoint::open_part(Part::vae, folder.vae));
    if (!folder.image_encoder.empty())
      opened.emplace_back("image_encoder", Checkpoint::open_part(Part::image_encoder, folder.image_encoder));
    return opened;
  }();
  std::vector<Sample> samples;
  for (const auto& [part, file] : files) {
    for (const auto& [name, entry] : file.entries())
      samples.push_back({.part = part, .name = &name, .file = &file, .entry = &entry});
  }
  std::string text = "fingerprint 1\n";
  std::vector<std::filesystem::path> whole_files;
  whole_files.reserve(folder.experts.size() + 1);
  std::error_code unreadable;
  for (const ExpertFolder& expert : folder.experts) {  // a lone file has no config.json
    if (std::filesystem::is_directory(expert.path, unreadable))
      whole_files.push_back(expert.path / "config.json");
  }
  whole_files.push_back(folder.tokenizer / "tokenizer.json");
  for (const std::filesystem::path& file : whole_files) {
    text += fmt::format("{} {}\n", file.filename().string(), sha256_file_hex(file));
  }
  for (const std::string& line : lines_of(samples)) text += line;
  return sha256_hex(text).substr(0, digits);
}

}  // namespace wan::checkpoint
