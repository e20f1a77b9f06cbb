#pragma once

#include <string>

#include "wan/error.h"

namespace wan {

/// A file could not be written, and the item is not the cause: the disk is full, the quota is used up, or the
/// file system is read-only or gone. The run ends in order, and its items stay open. An engine throws it on
/// every rank of the team.
class StorageError : public ItemError {
 public:
  explicit StorageError(const std::string& message) : ItemError("write", message) {}
};

}  // namespace wan
