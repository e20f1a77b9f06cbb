#pragma once

#include <mpi.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "core/unique_handle.h"

namespace wan::comm {

// Only the MPI backend includes this header: the other headers of this folder do not show MPI.

/// MPI's text for an error code.
std::string error_text(int code);

/// Throws Error with the call, MPI's text and the place unless `code` is MPI_SUCCESS.
void check_mpi(int code, const char* call, std::string_view where);

/// Frees a communicator, except after MPI_Finalize or while an exception unwinds: freeing is collective.
struct CommCloser {
  using Value = MPI_Comm;
  static MPI_Comm none() noexcept { return MPI_COMM_NULL; }
  static void close(MPI_Comm comm) noexcept;
};
/// Owns a communicator.
using CommHandle = UniqueHandle<CommCloser>;

/// Frees a derived type. Transfers in progress keep their own reference to the type.
struct TypeCloser {
  using Value = MPI_Datatype;
  static MPI_Datatype none() noexcept { return MPI_DATATYPE_NULL; }
  static void close(MPI_Datatype type) noexcept { MPI_Type_free(&type); }
};

/// A block of bytes as (count, datatype). MPI counts in int. `total_bytes` is the size of the whole buffer
/// that contains the block. If it is larger than `largest_count`, the block becomes one element of a derived
/// type whose extent is the block's size.
class BlockType {
 public:
  BlockType(std::size_t bytes, std::size_t total_bytes, std::size_t largest_count);

  int count() const { return count_; }
  MPI_Datatype type() const { return derived_ ? derived_.get() : MPI_BYTE; }

 private:
  int count_ = 0;
  UniqueHandle<TypeCloser> derived_;
};

/// Pauses between two polls. At first it does not pause, for low latency. Then it yields the processor. After
/// a longer wait it sleeps briefly, so that the core is free for ranks that compute.
void pause_between_polls(double waited_s);

}  // namespace wan::comm
