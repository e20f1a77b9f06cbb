#include "launch/run_loras.h"

#include <algorithm>

#include "core/check.h"
#include "core/printable.h"
#include "launch/option_names.h"
#include "model/model_kind.h"

namespace wan::launch {

std::vector<LoraChoice> lora_choices(const std::vector<manifest::ManifestRow>& rows,
                                     const RequestOverrides& command_line, const std::string& manifest) {
  const std::vector<LoraChoice> given = command_line.loras.value_or(std::vector<LoraChoice>());
  const manifest::ManifestRow* first = nullptr;
  for (const manifest::ManifestRow& row : rows) {
    if (row.error) continue;
    if (first == nullptr) first = &row;
    if (row.overrides.loras.value_or(given) == first->overrides.loras.value_or(given)) continue;
    fail<UsageError>(
        "{}:{}: this row has other LoRAs than the row of line {}, and a run has one set for all rows; make "
        "the rows of each set in a run of their own (--continue FILE chooses rows by their ids)",
        printable(manifest), row.line, first->line);
  }
  return first == nullptr ? given : first->overrides.loras.value_or(given);
}

std::vector<lora::LoraSummary> inspect_loras(const RunInput& input,
                                             const checkpoint::TransformerConfig& transformer,
                                             bool reads_values) {
  std::vector<Expert> experts;
  for (const model::ExpertKind& expert : model::model_kind(input.checkpoint.task.name).experts)
    experts.push_back(expert.expert);
  return hinting_at("--lora",
                    [&] { return lora::inspect_loras(input.loras, transformer, experts, reads_values); });
}

}  // namespace wan::launch
