#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "store/output_folder.h"
#include "store/sidecar.h"

namespace wan::store {

// These functions handle the files that lie under an item's names before its new files get them. Files of
// this program are kept under numbered names, "ID.earlier-1.mp4" and so on. Files of anybody else are in the
// way, and stay.
//
// The record beside a video tells whose it is. A crash between the two leaves a video without a record. So
// the checksum of a video is noted in OUT/.state/.publishing-ID.json before the video gets its name, and the
// note is removed when the record is there.

/// The stage of the failures that find_obstacle() describes.
inline constexpr std::string_view obstacle_stage = "output";

/// The files of an item that will get their final names next.
struct NewOutputs {
  OutputFile video;
  std::optional<OutputFile> latents;
};

/// Describes an obstacle to an item's files, and the remedy: a file under one of its names that is not this
/// program's. Returns nothing if there is none. Does not read a video that has a record. `with_latents`: the
/// item will have latents.
std::optional<std::string> find_obstacle(const OutputFolder& folder, std::string_view id, bool with_latents);

/// The same for the preview of a drafted item.
std::optional<std::string> find_draft_obstacle(const OutputFolder& folder, std::string_view id);

/// Throws UsageError if the run's record, or the files of the single item `id` (empty: none), would replace
/// somebody else's files. For use before anything is loaded. `option` names the option that gave the place.
void require_free_names(const std::filesystem::path& folder, std::string_view id, bool with_latents,
                        std::string_view option);

/// Notes the files that are published next, in one step. Throws Error.
void note_outputs(const OutputFolder& folder, std::string_view id, std::string_view token,
                  const NewOutputs& outputs);
/// Removes the note if there is one. Throws Error.
void remove_note(const OutputFolder& folder, std::string_view id);

/// Moves the item's earlier video, latents and record to free numbered names, the record last. Moves nothing
/// if the record `answers` the request and the new files have the same bytes: replacing them loses nothing.
/// Returns "ID.earlier-1", or an empty text if nothing was moved. For the holder of the item's claim, after
/// note_outputs() and without an obstacle. Throws Error.
std::string keep_earlier(const OutputFolder& folder, std::string_view id, const NewOutputs& outputs,
                         bool answers);

}  // namespace wan::store
