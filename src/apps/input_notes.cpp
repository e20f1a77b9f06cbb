#include "apps/input_notes.h"

#include <set>

#include "checkpoint/folder_notes.h"
#include "core/printable.h"
#include "engine/validate.h"
#include "launch/distilled_model.h"
#include "text/clean.h"

namespace wan::apps {
namespace {

constexpr std::size_t longest_note = 1000;  // in bytes

/// The place of a row's value: in the manifest, or the option of a single request.
std::string place_of(const launch::RunInput& input, const manifest::ManifestRow& row,
                     const std::string& field) {
  const bool is_negative = field == "negative_prompt";
  const auto& place = is_negative ? row.negative_prompt_place : row.prompt_place;
  if (place) return fmt::format("{}:{}:{}", printable(input.manifest_name), place->line, place->column);
  return is_negative ? "--negative-prompt" : "--prompt";
}

}  // namespace

void warn_of_input(const launch::RunInput& input, Log& log) {
  for (const std::string& note : input.notes) log.warn("{}", note);
  if (!input.distilled.note.empty()) log.warn("{}", input.distilled.note);
  if (const std::string text = launch::describe_distilled_model(input); !text.empty()) log.info("{}", text);
  if (const std::string text = launch::unusual_steps(input); !text.empty()) log.warn("{}", text);
  for (const manifest::ManifestRow& row : input.rows) {
    // The official program repairs damaged encodings; this program does not.
    if (!row.error && text::looks_like_mojibake(row.prompt)) {
      log.warn(
          "{}: {}: the prompt looks as if UTF-8 had been read as another encoding; it is used as it is: {}",
          place_of(input, row, "prompt"), row.id, printable(row.prompt, 80));
    }
  }
}

void warn_of_lost_texts(const launch::RunInput& input, const text::Tokenizer& tokenizer, Log& log) {
  for (const manifest::ManifestRow& row : input.rows) {
    if (row.error) continue;
    try {
      for (const LostText& lost : engine::lost_texts(tokenizer, launch::resolve_row(input, row))) {
        log.warn(
            "{}: {}: {} has {} tokens, and the text encoder takes {}, as in the official program; the text "
            "from '{}' on is not used",
            place_of(input, row, lost.field), row.id,
            lost.field == "prompt" ? "the prompt" : "the negative prompt", lost.tokens, lost.used_tokens,
            printable(lost.first_words));
      }
    } catch (const ItemError&) {
      continue;  // the item itself will report the problem
    }
  }
}

void warn_of_checkpoint(const checkpoint::CheckpointFolder& folder, Log& log) {
  for (const std::string& note : checkpoint::folder_notes(folder))
    log.warn("the checkpoint {}: {}", folder.root.string(), note);
  if (const std::string note = checkpoint::widened_note(folder); !note.empty())
    log.info("the checkpoint: {}", note);
}

void tell_of_loras(const launch::RunInput& input, const launch::LoraNotes& notes,
                   const launch::BaseMemory& base, Log& log) {
  std::set<std::string> told;  // sets may share files
  for (const launch::RowLoras& set : input.lora_sets) {
    for (const std::string& note : set.notes) {
      if (told.insert(note).second) log.info("{}", printable(note, longest_note));
    }
  }
  for (const std::string& line : notes.lines) log.info("{}", printable(line, longest_note));
  for (const std::string& warning : notes.warnings) log.warn("{}", printable(warning, longest_note));
  if (const std::string text = base.describe(); !text.empty()) log.info("{}", text);
}

}  // namespace wan::apps
