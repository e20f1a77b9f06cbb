#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/part.h"
#include "checkpoint/tensor_file.h"

namespace wan::checkpoint {

/// The tensors of a part by name. The key counts: TensorEntry::name stays the name in the file.
using TensorEntries = std::map<std::string, TensorEntry, std::less<>>;

/// A line of a dialect's table: how a name begins in the dialect, and in the official files.
struct NameRule {
  std::string_view theirs;    ///< "{}" stands for a number
  std::string_view official;  ///< "{0}", "{1}": these numbers; "{flat}": 4 x first + second; "{last}": 4 x
                              ///< first + 3
  /// Order among tensors that together are the official one; -1: the tensor is the official one.
  int piece = -1;
  int leading_ones = 0;            ///< dimensions of size 1 that the official shape has in front
  bool is_residual_block = false;  ///< the rest of the name is of a residual block of the VAE
};

/// The names that a library gives to the tensors of a part.
struct Dialect {
  std::string_view name;  ///< "Diffusers"
  Part part = Part::transformer;
  std::string_view mark;  ///< a beginning of a name that no other dialect of this part has
  std::span<const NameRule> rules;
  std::span<const std::string_view> unused;  ///< beginnings of names that no model here needs
};

/// Every dialect, those with the narrower mark first. Official names are none of them.
std::span<const Dialect> dialects();

/// A module's name in a dialect, and the official one: "blocks.3.attn1.to_q", "blocks.3.self_attn.q".
struct ModuleName {
  std::string theirs;
  std::string official;
};

/// The modules that the dialects of `part` name, and tensors that lie in no module. Numbers run from 0 to
/// `count` - 1. For dialects without numbers that depend on two.
std::vector<ModuleName> module_names(Part part, std::int64_t count);

/// The same tensors under their official names, from official names or a dialect's. Names that belong to
/// neither stay as they are. Throws UsageError: names of two dialects, two tensors with one official name, or
/// a missing piece. `where`: the file or folder.
TensorEntries with_official_names(Part part, TensorEntries&& entries, const std::filesystem::path& where);

/// The names and the form in which a part lies in its file, for a report: "official names", "names of
/// Diffusers", with ", fp8 with scales" or ", fp8" if it holds such weights. `entries`: those of
/// Checkpoint::open_part().
std::string form_text(Part part, const TensorEntries& entries);

/// Removes "model.diffusion_model.", "diffusion_model." or "model." if all names begin with it. Throws
/// UsageError if only some begin with one of the first two.
TensorEntries without_prefix(TensorEntries&& entries, const std::filesystem::path& where);

/// The part that the tensors belong to, by names that no other part has; nothing if there are none.
std::optional<Part> part_of(const TensorEntries& entries);

/// Throws UsageError unless the tensors can be those of `part`: another part, a LoRA, another model or a
/// quantised form that is not read. The message names what it is and what would do.
void refuse_other_contents(Part part, const TensorEntries& entries, const std::filesystem::path& where);

}  // namespace wan::checkpoint
