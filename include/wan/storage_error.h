#pragma once

#include <string>

#include "wan/error.h"

namespace wan {

/// A file could not be written for a reason that has nothing to do with the item: the disk is full, the quota
/// used up, the file system read-only or gone. The run ends in order, and items stay open. From an engine it
/// comes on every rank of the team alike.
class StorageError : public ItemError {
 public:
  explicit StorageError(const std::string& message) : ItemError("write", message) {}
};

}  // namespace wan
