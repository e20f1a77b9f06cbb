#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "comm/mpi/mpi.h"

namespace wan::comm::test {

/// Long enough for a loaded machine, short enough that a failed assertion on one rank does not hang the test.
inline constexpr double patience_s = 40;

/// Makes groups of all ranks, or of some of them.
struct Backend {
  std::string name;
  std::function<std::unique_ptr<Communicator>(std::unique_ptr<Communicator>)> wrap;
  MpiOptions options;

  std::unique_ptr<Communicator> world() const { return wrap(make_mpi_world(MpiEnvironment(), options)); }
  std::unique_ptr<Communicator> group(const std::vector<int>& members, const std::string& group_name) const {
    const std::unique_ptr<Communicator> parent = make_mpi_world(MpiEnvironment(), options);
    return wrap(make_mpi_group(*parent, members, group_name, options));
  }
};

inline std::ostream& operator<<(std::ostream& out, const Backend& backend) { return out << backend.name; }

/// The backends for this program's number of ranks. Each program defines its own list.
std::vector<Backend> backends();

/// Bytes that differ between seeds, ranks and positions.
inline std::byte pattern(unsigned seed, int rank, std::size_t index) {
  std::uint64_t x =
      index * 0x9E3779B97F4A7C15u + seed * 0xD1B54A32D192ED03u + static_cast<std::uint64_t>(rank) * 977u;
  x = (x ^ (x >> 31)) * 0xBF58476D1CE4E5B9u;
  return static_cast<std::byte>(x >> 56);
}

inline std::vector<std::byte> pattern_bytes(unsigned seed, int rank, std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = pattern(seed, rank, i);
  return bytes;
}

}  // namespace wan::comm::test
