#include "comm/mpi/support.h"

#include <sched.h>

#include <array>
#include <chrono>
#include <exception>
#include <limits>
#include <thread>

#include "comm/communication_error.h"
#include "core/check.h"

namespace wan::comm {

std::string error_text(int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) return fmt::format("MPI error {}", code);
  return {text.data(), static_cast<std::size_t>(length)};
}

void check_mpi(int code, const char* call, std::string_view where) {
  if (code != MPI_SUCCESS) fail<CommunicationError>("{} failed {}: {}", call, where, error_text(code));
}

void CommCloser::close(MPI_Comm comm) noexcept {
  if (std::uncaught_exceptions() > 0) return;
  int finalized = 0;
  if (MPI_Finalized(&finalized) == MPI_SUCCESS && finalized == 0) MPI_Comm_free(&comm);
}

BlockType::BlockType(std::size_t bytes, std::size_t total_bytes, std::size_t largest_count) {
  if (total_bytes <= largest_count) {
    count_ = static_cast<int>(bytes);
    return;
  }
  const std::size_t chunks = bytes / largest_count;
  WAN_CHECK(chunks <= static_cast<std::size_t>(std::numeric_limits<int>::max()), "a message of {} bytes",
            bytes);
  MPI_Datatype chunk = MPI_DATATYPE_NULL;
  check_mpi(MPI_Type_contiguous(static_cast<int>(largest_count), MPI_BYTE, &chunk), "MPI_Type_contiguous",
            "for a large message");
  const std::array<int, 2> lengths{static_cast<int>(chunks), static_cast<int>(bytes % largest_count)};
  const std::array<MPI_Aint, 2> offsets{0, static_cast<MPI_Aint>(chunks * largest_count)};
  const std::array<MPI_Datatype, 2> types{chunk, MPI_BYTE};
  MPI_Datatype whole = MPI_DATATYPE_NULL;
  const int code = MPI_Type_create_struct(2, lengths.data(), offsets.data(), types.data(), &whole);
  MPI_Type_free(&chunk);
  check_mpi(code, "MPI_Type_create_struct", "for a large message");
  count_ = 1;
  derived_.reset(whole);
  check_mpi(MPI_Type_commit(&whole), "MPI_Type_commit", "for a large message");
}

void pause_between_polls(double waited_s) {
  constexpr double spin_s = 20e-6;
  constexpr double yield_s = 5e-3;
  constexpr double short_nap_until_s = 0.1;
  if (waited_s < spin_s) return;
  if (waited_s < yield_s) {
    sched_yield();
    return;
  }
  std::this_thread::sleep_for(std::chrono::microseconds(waited_s < short_nap_until_s ? 50 : 200));
}

}  // namespace wan::comm
