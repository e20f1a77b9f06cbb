#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/dtype.h"

namespace wan::checkpoint {

/// A tensor as data.pkl describes it: a view of a storage. Nothing of it is checked against the archive.
struct PickledTensor {
  std::string name;          ///< its key in the state dictionary
  DType dtype = DType::f32;  ///< of the storage's class
  std::string storage_key;
  std::int64_t storage_elements = 0;
  std::int64_t storage_offset = 0;  ///< in elements
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> stride;  ///< in elements; as many as shape has
  bool negated = false;              ///< the elements have the other sign than the stored ones
};

/// Reads a pickled state dictionary, name -> tensor (model.md 1.7), with a state machine over the opcodes
/// that torch.save() writes. It runs nothing: a class or function is only a name, compared with the few that
/// describe tensors; each of those is understood here and any other is refused by name. Bounded in memory and
/// time by the pickle's length (the caller's limit) and 2^20 values. `where` names the file in messages.
/// Throws UsageError with the byte at fault.
std::vector<PickledTensor> read_pickled_state_dict(std::string_view pickle, const std::string& where);

}  // namespace wan::checkpoint
