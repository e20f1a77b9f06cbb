#include "lora/lora_merge.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/check.h"

namespace wan::lora {
namespace {

constexpr std::int64_t block_rows = 128;  ///< rows of a weight that are computed at a time

/// The values of a factor, or of some of its rows.
std::vector<float> read_values(const LoraFile& file, const checkpoint::TensorEntry& entry, std::int64_t first,
                               std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  file.read(entry, first, values);
  return values;
}

std::shared_ptr<const PackedDown> read_down(const LoraFile& file, const checkpoint::TensorEntry& entry) {
  const std::int64_t rank = entry.shape.front();
  return std::make_shared<const PackedDown>(read_values(file, entry, 0, entry.elements()), rank,
                                            entry.elements() / rank);
}

float merged(float weight, double sum) { return static_cast<float>(static_cast<double>(weight) + sum); }

}  // namespace

/// Some rows of a tensor, of which a range of elements is merged.
struct LoraMerge::Rows {
  std::int64_t first_row, count, columns;
  std::int64_t first, end;  ///< the elements of these rows that are wanted, counted from the tensor's first

  /// A LoRA's share of these rows.
  struct Share {
    double strength = 1;
    double factor = 1;                            ///< strength x scale
    std::shared_ptr<const PackedDown> down = {};  ///< null: no pair
    std::vector<float> up = {};                   ///< [count, rank]
    std::vector<float> difference = {};           ///< of elements first ... end; empty: none
  };
  std::vector<Share> shares = {};

  void add(const Term& term, Factors& cache) {
    Share share{.strength = term.strength, .factor = term.strength * term.change.scale};
    if (term.change.down != nullptr) {
      share.down = cache.get(*term.change.down, [&] { return read_down(*term.file, *term.change.down); });
      const std::int64_t rank = share.down->rank();
      share.up = read_values(*term.file, *term.change.up, first_row * rank, count * rank);
    }
    if (term.change.difference != nullptr)
      share.difference = read_values(*term.file, *term.change.difference, first, end - first);
    shares.push_back(std::move(share));
  }

  /// `values`: elements first ... end.
  void merge_panel(std::int64_t panel, std::span<float> values) const {
    constexpr auto block_size = static_cast<std::size_t>(block_rows * panel_columns);
    std::array<double, block_size> sums{};
    std::array<float, block_size> product;  // NOLINT(cppcoreguidelines-pro-type-member-init): written first
    const std::int64_t first_column = panel * panel_columns;
    const std::int64_t width = std::min(panel_columns, columns - first_column);
    for (const Share& share : shares) {
      if (share.down) {
        multiply_panel(share.up, count, *share.down, panel, product);
        for (std::size_t i = 0; i < static_cast<std::size_t>(count * panel_columns); ++i)
          sums[i] += share.factor * static_cast<double>(product[i]);
      }
      if (share.difference.empty()) continue;
      for_each(first_column, width, [&](std::size_t in_block, std::size_t in_range) {
        sums[in_block] += share.strength * static_cast<double>(share.difference[in_range]);
      });
    }
    for_each(first_column, width, [&](std::size_t in_block, std::size_t in_range) {
      values[in_range] = merged(values[in_range], sums[in_block]);
    });
  }

 private:
  /// Calls work(place in the block, place in the range) for the wanted elements of a panel.
  template <typename Work>
  void for_each(std::int64_t first_column, std::int64_t width, const Work& work) const {
    for (std::int64_t row = 0; row < count; ++row) {
      const std::int64_t at = (first_row + row) * columns + first_column;
      const std::int64_t from = std::max(first - at, std::int64_t{0});
      const std::int64_t to = std::min(end - at, width);
      const auto visit = [&](std::int64_t i) {
        work(static_cast<std::size_t>(row * panel_columns + i), static_cast<std::size_t>(at + i - first));
      };
      if (from == 0 && to == panel_columns) {  // nearly all rows: a fixed count of elements, for vectors
        for (std::int64_t i = 0; i < panel_columns; ++i) visit(i);
      } else {
        for (std::int64_t i = from; i < to; ++i) visit(i);
      }
    }
  }
};

LoraMerge::LoraMerge(const LoraSet& loras, Expert expert, const checkpoint::TransformerConfig& config) {
  std::size_t pairs = 0;
  for (const Lora& lora : loras) {
    files_.push_back(std::make_unique<LoraFile>(lora.file, config));
    const LoraFile& file = *files_.back();
    for (const auto& [tensor, change] : file.changes(expert, lora.experts))
      terms_[tensor].push_back({.file = &file, .change = change, .strength = lora.strength});
    ++pairs;
  }
  constexpr std::size_t weights_at_a_time = 4;  // that the threads of a rank read
  downs_ = std::make_unique<Factors>(weights_at_a_time * pairs);
}

LoraMerge::~LoraMerge() = default;

std::span<const LoraMerge::Term> LoraMerge::terms(std::string_view tensor) const {
  const auto found = terms_.find(tensor);
  if (found == terms_.end()) return {};
  return found->second;
}

void LoraMerge::add(const std::string& tensor, std::span<const std::int64_t> shape, std::int64_t first,
                    std::span<float> values) const {
  const auto found = terms_.find(tensor);
  if (found == terms_.end() || values.empty()) return;
  const std::int64_t end = first + std::ssize(values);
  // A tensor of one dimension has no pair: its values are one row.
  const std::int64_t columns =
      checkpoint::checked_elements(shape.size() < 2 ? shape : shape.subspan(1)).value();
  for (std::int64_t row = first / columns; row * columns < end; row += block_rows) {
    const std::int64_t last_row = std::min(row + block_rows, (end + columns - 1) / columns);
    Rows rows{.first_row = row,
              .count = last_row - row,
              .columns = columns,
              .first = std::max(first, row * columns),
              .end = std::min(end, last_row * columns)};
    for (const Term& term : found->second) rows.add(term, *downs_);
    const std::span<float> part = values.subspan(static_cast<std::size_t>(rows.first - first),
                                                 static_cast<std::size_t>(rows.end - rows.first));
    for (std::int64_t panel = 0; panel * panel_columns < columns; ++panel) rows.merge_panel(panel, part);
  }
}

}  // namespace wan::lora
