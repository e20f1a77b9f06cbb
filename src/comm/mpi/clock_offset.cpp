#include "comm/mpi/clock_offset.h"

#include <array>
#include <limits>

#include "comm/mpi/support.h"

namespace wan::comm {
namespace {

constexpr int round_trips = 20;
constexpr int message_tag = 4711;  // on the caller's communicator, where nothing else is sent

void send(double value, int to, MPI_Comm comm) {
  check_mpi(MPI_Send(&value, 1, MPI_DOUBLE, to, message_tag, comm), "MPI_Send", "while clocks are compared");
}

double receive(int from, MPI_Comm comm) {
  double value = 0;
  check_mpi(MPI_Recv(&value, 1, MPI_DOUBLE, from, message_tag, comm, MPI_STATUS_IGNORE), "MPI_Recv",
            "while clocks are compared");
  return value;
}

/// On rank 0.
ClockOffset measure(int rank, MPI_Comm comm, const std::function<double()>& now_s) {
  ClockOffset best{.uncertainty_s = std::numeric_limits<double>::infinity()};
  for (int trip = 0; trip < round_trips; ++trip) {
    const double sent_s = now_s();
    send(0, rank, comm);
    const double time_s = receive(rank, comm);
    const double back_s = now_s();
    const double uncertainty_s = (back_s - sent_s) / 2;
    if (uncertainty_s >= best.uncertainty_s) continue;
    best = {.time_s = time_s, .offset_s = time_s - (sent_s + uncertainty_s), .uncertainty_s = uncertainty_s};
  }
  return best;
}

}  // namespace

ClockOffset measure_clock_offset(const MpiRanks& ranks, const std::function<double()>& now_s) {
  if (ranks.rank() == 0) {
    for (int rank = 1; rank < ranks.size(); ++rank) {
      const ClockOffset of_rank = measure(rank, ranks.comm(), now_s);
      send(of_rank.time_s, rank, ranks.comm());
      send(of_rank.offset_s, rank, ranks.comm());
      send(of_rank.uncertainty_s, rank, ranks.comm());
    }
    return {.time_s = now_s()};
  }
  for (int trip = 0; trip < round_trips; ++trip) {
    receive(0, ranks.comm());
    send(now_s(), 0, ranks.comm());
  }
  ClockOffset own;
  own.time_s = receive(0, ranks.comm());
  own.offset_s = receive(0, ranks.comm());
  own.uncertainty_s = receive(0, ranks.comm());
  return own;
}

}  // namespace wan::comm
