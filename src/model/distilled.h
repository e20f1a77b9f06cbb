#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "wan/request.h"

namespace wan::model {

// Models that were distilled to few steps without guidance (model.md 7.9), and the signs by which they are
// known.

/// Whether a name says that its weights are distilled: one of its words is "4step", "4steps", "lightning" or
/// "stepdistill", or two are "4 step(s)" or "step distill(ed)". Words are letters and digits, in any case.
bool is_distilled_name(std::string_view name);

/// The name in a path that says so: that of the file or folder, that of the folder around a file or folder
/// with a name that every model has (high_noise_model.safetensors), or that of the repository whose snapshot
/// in the hub's cache this is. Empty if none does. It opens nothing.
std::string distilled_name_in(const std::filesystem::path& path);

/// The entry of a file's metadata whose text is such a name: "modelspec.title: ...". Only entries that name
/// the model count. Empty if none does.
std::string distilled_entry_in(const std::map<std::string, std::string>& metadata);

/// The defaults of a model that was distilled from one with these (model.md 7.9).
TaskDefaults distilled_defaults(TaskDefaults base);

/// "4 steps, euler, shift 5, guidance 1"
std::string describe_sampling(const TaskDefaults& defaults);

}  // namespace wan::model
