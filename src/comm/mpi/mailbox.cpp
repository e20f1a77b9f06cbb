#include "comm/mailbox.h"

#include <mpi.h>

#include <list>

#include "comm/mpi/support.h"
#include "core/check.h"

namespace wan::comm {
namespace {

constexpr int letter_tag = 1;

class MpiMailbox final : public Mailbox {
 public:
  explicit MpiMailbox(CommHandle comm) : comm_(std::move(comm)) {
    check_mpi(MPI_Comm_set_errhandler(comm_.get(), MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler",
              "for the mailbox");
    check_mpi(MPI_Comm_rank(comm_.get(), &rank_), "MPI_Comm_rank", "for the mailbox");
    check_mpi(MPI_Comm_size(comm_.get(), &size_), "MPI_Comm_size", "for the mailbox");
  }
  MpiMailbox(const MpiMailbox&) = delete;
  MpiMailbox& operator=(const MpiMailbox&) = delete;
  MpiMailbox(MpiMailbox&&) = delete;
  MpiMailbox& operator=(MpiMailbox&&) = delete;
  ~MpiMailbox() override {
    forget_sent();
    // Letters to a rank that no longer reads must outlive their transfer. So must the communicator.
    if (sent_.empty()) return;
    static_cast<void>(std::make_unique<std::list<Sent>>(std::move(sent_)).release());
    // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks): leaked on purpose
    comm_.release();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void send(int to, std::span<const std::byte> bytes) override {
    WAN_CHECK(bytes.size() <= max_letter_bytes, "a letter of {} bytes", bytes.size());
    forget_sent();
    Sent& letter = sent_.emplace_back();
    letter.bytes.assign(bytes.begin(), bytes.end());
    const std::string where = fmt::format("of a letter from rank {} to rank {}", rank_, to);
    // NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): nobody waits, forget_sent() asks now and then
    const int code = MPI_Isend(letter.bytes.data(), static_cast<int>(letter.bytes.size()), MPI_BYTE, to,
                               letter_tag, comm_.get(), &letter.request);
    // NOLINTNEXTLINE(clang-analyzer-optin.mpi.MPI-Checker): likewise; the analyzer loses sight of the request
    // here
    check_mpi(code, "MPI_Isend", where);
  }

  std::optional<Letter> receive() override {
    forget_sent();
    int is_there = 0;
    MPI_Status status{};
    const std::string where = fmt::format("in the mailbox of rank {}", rank_);
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, letter_tag, comm_.get(), &is_there, &status), "MPI_Iprobe", where);
    if (is_there == 0) return std::nullopt;
    int bytes = 0;
    check_mpi(MPI_Get_count(&status, MPI_BYTE, &bytes), "MPI_Get_count", where);
    Letter letter{.from = status.MPI_SOURCE,
                  .bytes = std::vector<std::byte>(static_cast<std::size_t>(bytes))};
    check_mpi(MPI_Recv(letter.bytes.data(), bytes, MPI_BYTE, letter.from, letter_tag, comm_.get(),
                       MPI_STATUS_IGNORE),
              "MPI_Recv", where);
    return letter;
  }

 private:
  struct Sent {
    std::vector<std::byte> bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  void forget_sent() {
    std::erase_if(sent_, [](Sent& letter) {
      int is_done = 0;
      return MPI_Test(&letter.request, &is_done, MPI_STATUS_IGNORE) != MPI_SUCCESS || is_done != 0;
    });
  }

  CommHandle comm_;
  int rank_ = 0;
  int size_ = 1;
  std::list<Sent> sent_;
};

}  // namespace

std::unique_ptr<Mailbox> make_mpi_mailbox(Communicator& world) {
  // This barrier times out. MPI_Comm_dup would wait for ever for a rank that does not come.
  world.barrier().wait();
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup", "for the mailbox");
  return std::make_unique<MpiMailbox>(CommHandle(comm));
}

}  // namespace wan::comm
