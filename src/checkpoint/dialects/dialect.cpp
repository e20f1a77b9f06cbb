#include "checkpoint/dialects/dialect.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include "core/check.h"

namespace wan::checkpoint {
namespace {

/// Prefixes that all names of a file may have. The longer ones come first.
constexpr std::array<std::string_view, 3> prefixes{"model.diffusion_model.", "diffusion_model.", "model."};

/// A name that begins as a rule says.
struct Match {
  std::vector<std::int64_t> numbers;
  std::string_view rest;  ///< of the name
};

/// Whether `name` begins with `pattern`, where each "{...}" stands for a number.
std::optional<Match> match(std::string_view pattern, std::string_view name) {
  Match found;
  while (!pattern.empty()) {
    if (pattern.front() == '{') {
      std::int64_t value = -1;
      const auto parsed = std::from_chars(name.data(), name.data() + name.size(), value);
      constexpr std::int64_t largest = 1 << 20;
      if (parsed.ec != std::errc() || value < 0 || value > largest) return std::nullopt;
      found.numbers.push_back(value);
      name.remove_prefix(static_cast<std::size_t>(parsed.ptr - name.data()));
      pattern.remove_prefix(pattern.find('}') + 1);
      continue;
    }
    const std::string_view fixed = pattern.substr(0, pattern.find('{'));
    if (!name.starts_with(fixed)) return std::nullopt;
    name.remove_prefix(fixed.size());
    pattern.remove_prefix(fixed.size());
  }
  found.rest = name;
  return found;
}

/// The official name of a tensor of a residual block of the VAE, after the block's own name.
std::string in_residual_block(std::string_view rest) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> layers{
      {{"norm1.", "residual.0."},
       {"conv1.", "residual.2."},
       {"norm2.", "residual.3."},
       {"conv2.", "residual.6."},
       {"conv_shortcut.", "shortcut."}}};
  for (const auto& [theirs, official] : layers)
    if (rest.starts_with(theirs)) return std::string(official) + std::string(rest.substr(theirs.size()));
  return std::string(rest);
}

std::string official_name(const NameRule& rule, const Match& found) {
  std::string name;
  std::string_view pattern = rule.official;
  while (!pattern.empty()) {
    const std::size_t fixed = std::min(pattern.find('{'), pattern.size());
    name += pattern.substr(0, fixed);
    pattern.remove_prefix(fixed);
    if (pattern.empty()) break;
    const std::size_t end = pattern.find('}') + 1;
    const std::string_view token = pattern.substr(0, end);
    pattern.remove_prefix(end);
    const std::int64_t value = token == "{0}"      ? found.numbers.at(0)
                               : token == "{1}"    ? found.numbers.at(1)
                               : token == "{flat}" ? 4 * found.numbers.at(0) + found.numbers.at(1)
                                                   : 4 * found.numbers.at(0) + 3;
    name += std::to_string(value);
  }
  return name + (rule.is_residual_block ? in_residual_block(found.rest) : std::string(found.rest));
}

const Dialect* dialect_of(Part part, const TensorEntries& entries) {
  for (const Dialect& dialect : dialects()) {
    if (dialect.part != part) continue;
    const auto first = entries.lower_bound(dialect.mark);
    if (first != entries.end() && first->first.starts_with(dialect.mark)) return &dialect;
  }
  return nullptr;
}

/// Throws if an untranslated name is one of the official files.
void refuse_official(const Dialect& dialect, const std::string& name, const TensorEntry& entry,
                     const TensorEntries& entries) {
  for (const NameRule& rule : dialect.rules) {
    if (!match(rule.official, name)) continue;
    const auto marked = entries.lower_bound(dialect.mark);
    fail<UsageError>(
        "{}: the tensor {} has its official name, but {} has that of {}: names of two dialects are mixed. "
        "Are files of two checkpoints mixed? Use the files of one",
        entry.file.string(), in_quotes(name), in_quotes(marked->first), dialect.name);
  }
}

void reshape(TensorEntry& entry, int leading_ones) {
  if (leading_ones == 0) return;
  entry.shape.insert(entry.shape.begin(), static_cast<std::size_t>(leading_ones), 1);
  entry.stride.insert(entry.stride.begin(), static_cast<std::size_t>(leading_ones), 1);
}

/// One tensor of all pieces, which lie one after the other along the first dimension.
TensorEntry join(std::vector<TensorEntry>&& pieces) {
  TensorEntry whole;
  whole.name = pieces.front().name;
  whole.dtype = pieces.front().dtype;
  whole.file = pieces.front().file;
  whole.shape = pieces.front().shape;
  for (std::size_t i = 1; i < pieces.size(); ++i) {
    const TensorEntry& piece = pieces[i];
    const bool fits = !whole.shape.empty() && piece.shape.size() == whole.shape.size() &&
                      std::equal(piece.shape.begin() + 1, piece.shape.end(), whole.shape.begin() + 1);
    if (!fits || !is_floating(piece.dtype)) {
      fail<UsageError>("{}: tensor {} is {} of {}, which does not fit {} of {} in {}", piece.file.string(),
                       in_quotes(piece.name), shape_text(piece.shape), to_string(piece.dtype),
                       shape_text(pieces.front().shape), to_string(whole.dtype), in_quotes(whole.name));
    }
    if (__builtin_add_overflow(whole.shape[0], piece.shape[0], &whole.shape[0])) {
      fail<UsageError>("{}: tensor {} has more rows than can be counted", piece.file.string(),
                       in_quotes(piece.name));
    }
  }
  if (!checked_elements(whole.shape)) {
    fail<UsageError>("{}: tensor {} has the shape {}: more elements than can be counted", whole.file.string(),
                     in_quotes(whole.name), shape_text(whole.shape));
  }
  whole.stride = contiguous_stride(whole.shape);
  whole.parts = std::move(pieces);
  return whole;
}

/// Collects the tensors of a dialect under their official names.
class Translation {
 public:
  explicit Translation(const Dialect& dialect) : dialect_(dialect) {}

  /// Whether the dialect knows the name.
  bool add(const std::string& name, TensorEntry& entry) {
    for (const std::string_view unused : dialect_.unused)
      if (match(unused, name)) return true;
    for (const NameRule& rule : dialect_.rules) {
      const std::optional<Match> found = match(rule.theirs, name);
      if (!found) continue;
      std::string official = official_name(rule, *found);
      if (rule.piece >= 0) {
        pieces_[std::move(official)].emplace(rule.piece, std::move(entry));
      } else {
        reshape(entry, rule.leading_ones);
        put(std::move(official), std::move(entry));
      }
      return true;
    }
    return false;
  }

  void put(std::string official, TensorEntry&& entry) {
    const auto [at, is_new] = result_.try_emplace(std::move(official), std::move(entry));
    if (is_new || at->second.shape == entry.shape) return;  // a copy: transformers may store both
    fail<UsageError>("{}: the tensors {} {} and {} {} are both {}", entry.file.string(),
                     in_quotes(at->second.name), shape_text(at->second.shape), in_quotes(entry.name),
                     shape_text(entry.shape), in_quotes(at->first));
  }

  TensorEntries finish(const std::filesystem::path& where) {
    for (auto& [official, by_number] : pieces_) {
      std::vector<TensorEntry> pieces;
      pieces.reserve(by_number.size());
      for (auto& [piece, entry] : by_number) pieces.push_back(std::move(entry));
      constexpr std::size_t expected = 3;  // q, k and v
      if (pieces.size() != expected) {
        fail<UsageError>("{}: {} is there, but one of the query, key and value tensors beside it is missing",
                         where.string(), in_quotes(pieces.front().name));
      }
      put(official, join(std::move(pieces)));
    }
    return std::move(result_);
  }

 private:
  const Dialect& dialect_;
  TensorEntries result_;
  std::map<std::string, std::map<int, TensorEntry>> pieces_;
};

}  // namespace

std::vector<ModuleName> module_names(Part part, std::int64_t count) {
  const auto without_dot = [](std::string name) {
    if (name.ends_with('.')) name.pop_back();
    return name;
  };
  std::vector<ModuleName> names;
  for (const Dialect& dialect : dialects()) {
    if (dialect.part != part) continue;
    for (const NameRule& rule : dialect.rules) {
      const std::size_t number = rule.theirs.find("{}");
      const std::int64_t numbers = number == std::string_view::npos ? 1 : count;
      for (std::int64_t i = 0; i < numbers; ++i) {
        std::string theirs(rule.theirs);
        if (number != std::string_view::npos) theirs.replace(number, 2, std::to_string(i));
        const std::optional<Match> found = match(rule.theirs, theirs);
        WAN_CHECK(found && found->rest.empty(), "the rule {} does not match itself", rule.theirs);
        std::string official = official_name(rule, *found);
        names.push_back(
            {.theirs = without_dot(std::move(theirs)), .official = without_dot(std::move(official))});
      }
    }
  }
  return names;
}

TensorEntries with_official_names(Part part, TensorEntries&& entries, const std::filesystem::path& where) {
  const Dialect* dialect = dialect_of(part, entries);
  if (dialect == nullptr) return std::move(entries);
  for (const auto& [key, entry] : entries) {
    const std::string& name = key;  // Clang 14 lets no lambda see a structured binding
    const auto is_theirs = [&](const NameRule& rule) { return match(rule.theirs, name).has_value(); };
    const auto is_unused = [&](std::string_view unused) { return match(unused, name).has_value(); };
    if (std::ranges::none_of(dialect->rules, is_theirs) && std::ranges::none_of(dialect->unused, is_unused))
      refuse_official(*dialect, name, entry, entries);
  }
  Translation translation(*dialect);
  for (auto& [name, entry] : entries)
    if (!translation.add(name, entry)) translation.put(name, std::move(entry));
  return translation.finish(where);
}

std::string form_text(Part part, const TensorEntries& entries) {
  const auto begins_with = [](std::string_view name, std::string_view mark) {
    for (const std::string_view prefix : prefixes)
      if (name.starts_with(prefix) && name.substr(prefix.size()).starts_with(mark)) return true;
    return name.starts_with(mark);
  };
  std::string text = "official names";
  for (const Dialect& dialect : dialects()) {
    const auto has_mark = [&](const auto& item) { return begins_with(item.second.name, dialect.mark); };
    if (dialect.part != part || std::ranges::none_of(entries, has_mark)) continue;
    text = fmt::format("names of {}", dialect.name);
    break;
  }
  const auto is_scaled = [](const auto& item) { return item.second.scale != nullptr; };
  const auto is_small = [](const auto& item) { return is_fp8(item.second.dtype); };
  if (std::ranges::any_of(entries, is_scaled)) return text + ", fp8 with scales";
  return std::ranges::any_of(entries, is_small) ? text + ", fp8" : text;
}

TensorEntries without_prefix(TensorEntries&& entries, const std::filesystem::path& where) {
  const auto stands_alone = [](std::string_view name) {
    return name == "scaled_fp8" || name == "spiece_model";
  };
  for (const std::string_view prefix : prefixes) {
    const std::string* with = nullptr;
    const std::string* without = nullptr;
    for (const auto& [name, entry] : entries) {
      if (stands_alone(name)) continue;
      (name.starts_with(prefix) ? with : without) = &name;
    }
    if (with == nullptr) continue;
    if (without != nullptr && prefix != "model.") {
      fail<UsageError>(
          "{}: the tensor {} begins with {} and {} does not: it holds several networks (a checkpoint of "
          "ComfyUI that is all in one), or mixes dialects. Use a file of the diffusion model alone",
          where.string(), in_quotes(*with), in_quotes(prefix), in_quotes(*without));
    }
    if (without != nullptr) continue;
    TensorEntries result;
    for (auto& [name, entry] : entries) {
      const std::string_view bare = std::string_view(name).substr(stands_alone(name) ? 0 : prefix.size());
      result.emplace(bare, std::move(entry));
    }
    return result;
  }
  return std::move(entries);
}

}  // namespace wan::checkpoint
