#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/dtype.h"

namespace wan::checkpoint {

/// One entry of a safetensors header. Its syntax and types are checked, its ranges are not.
struct HeaderTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin_byte = 0;  ///< counted from the beginning of the data, not of the file
  std::uint64_t end_byte = 0;
};

/// Parses the JSON of a safetensors header (model.md 1.6) event by event, and stores only checked values.
/// `file` names the file in messages. Throws UsageError: not JSON; duplicate, unknown or missing keys;
/// unknown dtype; negative or fractional numbers; more than 200,000 tensors or 16 dimensions.
/// Texts of __metadata__ go to `metadata` if it is not null, up to 1000 of at most 4096 bytes.
std::vector<HeaderTensor> parse_safetensors_header(std::string_view text, const std::string& file,
                                                   std::map<std::string, std::string>* metadata = nullptr);

}  // namespace wan::checkpoint
