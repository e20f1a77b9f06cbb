#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "store/output_folder.h"
#include "store/sidecar.h"

namespace wan::store {

// What lies under an item's names before its new files get them. Files of this program are kept under
// numbered names, "ID.earlier-1.mp4" and so on; files of anybody else are in the way and stay.
//
// Whose a video is tells the record beside it. A crash between the two leaves a video without: so before a
// video gets its name its checksum is noted in OUT/.state/.publishing-ID.json, and the note goes when the
// record is there.

/// The stage of a failure that find_obstacle() tells of.
inline constexpr std::string_view obstacle_stage = "output";

/// The files of an item that are about to get their final names.
struct NewOutputs {
  OutputFile video;
  std::optional<OutputFile> latents;
};

/// Says what is in the way of an item's files, and what to do: something under one of its names that is not
/// this program's. Nothing if all is well. Reads no video that has a record. `with_latents`: the item will
/// have some.
std::optional<std::string> find_obstacle(const OutputFolder& folder, std::string_view id, bool with_latents);

/// Throws UsageError, before anything is loaded, if the run's record or the files of the single item `id`
/// (none if empty) would take the place of somebody else's. `option` is the one that names the place.
void require_free_names(const std::filesystem::path& folder, std::string_view id, bool with_latents,
                        std::string_view option);

/// Notes what is about to be published, in one step. Throws Error.
void note_outputs(const OutputFolder& folder, std::string_view id, std::string_view token,
                  const NewOutputs& outputs);
/// Removes the note if there is one. Throws Error.
void remove_note(const OutputFolder& folder, std::string_view id);

/// Moves the item's earlier video, latents and record to numbered names that are free, the record last. Not
/// if the record `answers` and the new files have the same bytes: then nothing is lost when they are
/// replaced. "ID.earlier-1", or empty if nothing was moved. For the holder of the item's claim, with the note
/// made and no obstacle. Throws Error.
std::string keep_earlier(const OutputFolder& folder, std::string_view id, const NewOutputs& outputs,
                         bool answers);

}  // namespace wan::store
