#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/dtype.h"

namespace wan::checkpoint {

/// A tensor as data.pkl describes it: a view of a storage. Its values are not yet compared with the archive.
struct PickledTensor {
  std::string name;          ///< its key in the state dictionary
  DType dtype = DType::f32;  ///< type of the storage's class
  std::string storage_key;
  std::int64_t storage_elements = 0;
  std::int64_t storage_offset = 0;  ///< in elements
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> stride;  ///< in elements; one for each dimension of shape
  bool negated = false;              ///< the elements have the opposite sign of the stored ones
};

/// Whether the tensors may lie one level deeper, in the entry "state_dict" of the pickled dictionary.
enum class StateDictLevel { top, top_or_below };

/// Reads a pickled state dictionary, name -> tensor (model.md 1.7), with a state machine for the opcodes that
/// torch.save() writes. It runs no code: a class or function is only a name. It knows the few names that
/// describe tensors and refuses every other one. Memory and time are bounded by the pickle's length (the
/// caller limits it) and 2^20 values. `where` names the file in messages. Throws UsageError with the byte of
/// the error.
std::vector<PickledTensor> read_pickled_state_dict(std::string_view pickle, const std::string& where,
                                                   StateDictLevel level = StateDictLevel::top);

}  // namespace wan::checkpoint
