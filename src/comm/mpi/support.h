#pragma once

#include <mpi.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace wan::comm {

// Inside the MPI backend only: the other headers of this folder do not show MPI.

/// MPI's text for an error code.
std::string error_text(int code);

/// Throws Error with the call, MPI's text and where it happened, unless `code` is MPI_SUCCESS.
void check_mpi(int code, const char* call, std::string_view where);

/// Owns a communicator. Frees it unless MPI is finalised or an exception unwinds: freeing is a matter of all
/// its ranks.
class CommHandle {
 public:
  CommHandle() = default;
  explicit CommHandle(MPI_Comm comm) : comm_(comm) {}
  CommHandle(CommHandle&& other) noexcept : comm_(other.release()) {}
  CommHandle& operator=(CommHandle&&) = delete;
  CommHandle(const CommHandle&) = delete;
  CommHandle& operator=(const CommHandle&) = delete;
  ~CommHandle();

  MPI_Comm get() const { return comm_; }
  /// Gives up ownership: the communicator is then never freed.
  MPI_Comm release();

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
};

/// A block of bytes as (count, datatype). MPI counts in int: where `total_bytes`, the whole buffer that the
/// block is part of, does not fit `largest_count`, the block becomes one element of a derived type whose
/// extent is the block's size.
class BlockType {
 public:
  BlockType(std::size_t bytes, std::size_t total_bytes, std::size_t largest_count);
  BlockType(const BlockType&) = delete;
  BlockType& operator=(const BlockType&) = delete;
  BlockType(BlockType&&) = delete;
  BlockType& operator=(BlockType&&) = delete;
  ~BlockType();

  int count() const { return count_; }
  MPI_Datatype type() const { return type_; }

 private:
  int count_ = 0;
  MPI_Datatype type_ = MPI_BYTE;
  bool derived_ = false;
};

/// Pauses between two polls: none at first, for latency; then the processor goes to whoever wants it; then
/// naps, so that a rank that waits for long leaves the core to those that compute.
void pause_between_polls(double waited_s);

}  // namespace wan::comm
