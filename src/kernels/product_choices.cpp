#include "kernels/product_choices.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/file.h"
#include "core/parse_value.h"
#include "core/place.h"
#include "core/strings.h"

namespace wan::kernels {
namespace {

constexpr std::string_view first_line = "wan_batch matrix products 2";
constexpr std::uint64_t max_file_bytes = 1 << 16;
constexpr std::size_t max_name_bytes = 64;
constexpr std::int64_t max_side = 1 << 24;

constexpr std::array<std::pair<std::string_view, c10::ScalarType>, 2> types{
    {{"bf16", c10::ScalarType::BFloat16}, {"fp16", c10::ScalarType::Half}}};
constexpr std::array<std::pair<std::string_view, ProductEnd>, 3> ends{
    {{"plain", ProductEnd::plain}, {"bias", ProductEnd::bias}, {"gelu", ProductEnd::gelu}}};

template <typename Pairs>
auto value_named(const Pairs& pairs, std::string_view name, const char* kind) {
  const auto found = std::ranges::find(pairs, name, [](const auto& pair) { return pair.first; });
  if (found == pairs.end()) fail<ValueError>("'{}' is no {}", printable(name), kind);
  return found->second;
}

template <typename Pairs, typename Value>
std::string_view name_of_value(const Pairs& pairs, const Value& value) {
  const auto found = std::ranges::find(pairs, value, [](const auto& pair) { return pair.second; });
  return found == pairs.end() ? std::string_view("?") : found->first;
}

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == ':' || c == '.' || c == '-' || c == '_';
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    const std::size_t end = std::min(line.find(' '), line.size());
    words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(end + 1, line.size()));
  }
  return words;
}

/// bf16 OUT IN bias ROWS KERNEL
void add_choice(ProductChoices& choices, std::string_view line) {
  const std::vector<std::string_view> words = words_of(line);
  constexpr std::size_t word_count = 6;
  if (words.size() != word_count)
    fail<ValueError>("'{}' is no choice: TYPE OUT IN END ROWS KERNEL", printable(line));
  const std::string_view kernel = words[5];
  if (kernel.empty() || kernel.size() > max_name_bytes || !std::ranges::all_of(kernel, is_name_character)) {
    fail<ValueError>("'{}' is no name of a kernel", printable(kernel));
  }
  const ProductShape shape{.type = value_named(types, words[0], "element type"),
                           .out = parse_integer(words[1], 1, max_side),
                           .in = parse_integer(words[2], 1, max_side),
                           .end = value_named(ends, words[3], "end of a product")};
  choices[shape].insert_or_assign(parse_integer(words[4], 1, max_side), std::string(kernel));
}

std::string head_of(const ProductMachine& machine) {
  return fmt::format("{}\ngpu {}\nmultiprocessors {}\ncublaslt {}\n", first_line, machine.gpu,
                     machine.multiprocessors, machine.cublas_lt);
}

/// The text as a part of a file name.
std::string name_part(std::string_view text) {
  std::string part(text);
  std::ranges::replace_if(
      part,
      [](char c) {
        return !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-');
      },
      '_');
  return part.substr(0, max_name_bytes);
}

std::filesystem::path cache_folder(const Environment& environment) {
  std::filesystem::path own = value_of(environment, "WAN_PRODUCT_CACHE");
  if (own.is_absolute()) return own;
  for (const auto& [variable, below] : {std::pair{"XDG_CACHE_HOME", ""}, std::pair{"HOME", ".cache"}}) {
    const std::filesystem::path base = value_of(environment, variable);
    if (base.is_absolute()) return base / below / "wan_batch" / "products";
  }
  return {};
}

}  // namespace

std::string describe(const ProductShape& shape) {
  return fmt::format("{} [{}, {}] {}", name_of_value(types, shape.type), shape.out, shape.in,
                     name_of_value(ends, shape.end));
}

ProductChoices shipped_product_choices(const ProductMachine& machine) {
  const ProductMachine h200{.gpu = "NVIDIA H200", .multiprocessors = 132, .cublas_lt = 130100};
  if (machine != h200) return {};
  constexpr auto bf16 = c10::ScalarType::BFloat16;
  const std::string tile_256x152 = "cublaslt:66.501.35.1.0.0.7.0.5";
  const std::string tile_256x144 = "cublaslt:66.500.35.1.0.0.7.0.5";
  const std::string tile_256x128 = "cublaslt:66.24.35.1.0.0.7.0.5";
  const std::string tile_192x208 = "cublaslt:66.470.35.1.0.0.5.0.3";
  // The rows of a rank at 480p (32,760 tokens) and 720p (75,600) on one to eight GPUs.
  const auto choices = [&](const std::string& for_4095_rows, const std::string& for_8190_rows) {
    return RowChoices{{4095, for_4095_rows}, {8190, for_8190_rows}, {9450, tile_256x144},
                      {16380, tile_256x152}, {18900, tile_256x144}, {32760, tile_256x152}};
  };
  return {
      {{.type = bf16, .out = 15360, .in = 5120, .end = ProductEnd::bias},
       choices(tile_256x128, tile_256x152)},
      {{.type = bf16, .out = 5120, .in = 5120, .end = ProductEnd::bias}, choices(tile_256x128, tile_256x128)},
      {{.type = bf16, .out = 13824, .in = 5120, .end = ProductEnd::gelu},
       choices(tile_192x208, tile_256x152)},
      {{.type = bf16, .out = 5120, .in = 13824, .end = ProductEnd::bias},
       choices(tile_256x128, tile_256x128)}};
}

std::filesystem::path product_choices_file(const ProductMachine& machine, const Environment& environment) {
  const std::filesystem::path folder = cache_folder(environment);
  if (folder.empty()) return {};
  return folder /
         fmt::format("{}-{}-{}.txt", name_part(machine.gpu), machine.multiprocessors, machine.cublas_lt);
}

std::string format_product_choices(const ProductMachine& machine, const ProductChoices& choices) {
  std::string text = head_of(machine);
  for (const auto& [shape, by_rows] : choices) {
    for (const auto& [rows, kernel] : by_rows) {
      text += fmt::format("{} {} {} {} {} {}\n", name_of_value(types, shape.type), shape.out, shape.in,
                          name_of_value(ends, shape.end), rows, kernel);
    }
  }
  return text;
}

ProductChoices parse_product_choices(std::string_view text, const ProductMachine& machine) {
  const std::string head = head_of(machine);
  if (!text.starts_with(first_line)) fail<ValueError>("line 1: expected '{}'", first_line);
  if (!text.starts_with(head)) {
    fail<ValueError>("lines 2 to 4: not for {} with {} multiprocessors and cuBLASLt {}", machine.gpu,
                     machine.multiprocessors, machine.cublas_lt);
  }
  text.remove_prefix(head.size());
  constexpr int head_lines = 4;
  ProductChoices choices;
  for (int line = head_lines + 1; !text.empty(); ++line) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) fail<ValueError>("line {}: cut off", line);
    try {
      add_choice(choices, text.substr(0, end));
    } catch (const ValueError& error) {
      fail<ValueError>("line {}: {}", line, error.what());
    }
    text.remove_prefix(end + 1);
  }
  return choices;
}

FoundChoices find_product_choices(const ProductMachine& machine, const Environment& environment) {
  FoundChoices found;
  found.choices = shipped_product_choices(machine);
  const std::filesystem::path file = product_choices_file(machine, environment);
  std::error_code error;
  if (file.empty() || !std::filesystem::exists(std::filesystem::symlink_status(file, error))) return found;
  try {
    for (auto& [shape, by_rows] : parse_product_choices(read_text_file(file, max_file_bytes), machine)) {
      found.choices.insert_or_assign(shape, by_rows);
    }
    found.file = file;
  } catch (const ValueError& problem) {
    found.problem = fmt::format("{}: {}", printable(file.string()), problem.what());
  } catch (const Error& problem) {  // names the file
    found.problem = problem.what();
  }
  return found;
}

void keep_product_choices(const std::filesystem::path& file, const ProductMachine& machine,
                          const ProductChoices& choices) {
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  if (error) fail("cannot make the folder {}: {}", printable(file.parent_path().string()), error.message());
  if (const std::string problem = in_the_way_of_file(file, "the choice of matrix products");
      !problem.empty()) {
    fail("{}", problem);
  }
  ProductChoices all = choices;
  try {
    all.merge(parse_product_choices(read_text_file(file, max_file_bytes), machine));
  } catch (const Error&) {  // there is none, or it is of no use
  }
  write_file_atomically(file, format_product_choices(machine, all));
}

const std::string* choice_for(const RowChoices& choices, std::int64_t rows) {
  if (choices.empty()) return nullptr;
  const auto above = choices.lower_bound(rows);
  if (above == choices.begin()) return &above->second;
  const auto below = std::prev(above);
  if (above == choices.end()) return &below->second;
  const double ratio_above = static_cast<double>(above->first) / static_cast<double>(rows);
  const double ratio_below = static_cast<double>(rows) / static_cast<double>(below->first);
  return ratio_above <= ratio_below ? &above->second : &below->second;
}

std::vector<std::size_t> best_kernels(const std::vector<KernelTimes>& kernels) {
  constexpr double noise = 0.005, gain = 0.02;
  WAN_CHECK(!kernels.empty(), "no kernel was timed");
  std::vector<double> sums(kernels.size());
  std::vector<std::size_t> fastest;
  for (std::size_t rows = 0; rows < kernels.front().seconds.size(); ++rows) {
    const auto time = [&](const KernelTimes& kernel) { return kernel.seconds.at(rows); };
    const auto best = std::ranges::min_element(kernels, {}, time);
    fastest.push_back(static_cast<std::size_t>(best - kernels.begin()));
    for (std::size_t i = 0; i < kernels.size(); ++i) sums[i] += time(kernels[i]) / time(*best);
  }
  auto for_all = static_cast<std::size_t>(std::ranges::min_element(sums) - sums.begin());
  if (sums[for_all] >= (1 - noise) * sums.front()) for_all = 0;
  for (std::size_t rows = 0; rows < fastest.size(); ++rows) {
    const double least = kernels[fastest[rows]].seconds[rows];
    if (least >= (1 - gain) * kernels[for_all].seconds[rows]) fastest[rows] = for_all;
  }
  return fastest;
}

}  // namespace wan::kernels
