#pragma once

#include <ATen/ATen.h>

#include <barrier>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "vae/row_exchange.h"

namespace wan::test {

/// Shared memory through which the parts of one split clip, each in its own thread, read each other's rows.
struct RowBoard {
  explicit RowBoard(int parts) : posted(parts), barrier(parts) {}

  std::vector<at::Tensor> posted;
  std::barrier<> barrier;
};

/// The exchange between threads of one process; counts its calls.
class ThreadedRowExchange final : public vae::RowExchange {
 public:
  ThreadedRowExchange(vae::RowSplit split, RowBoard& board) : RowExchange(split), board_(board) {}

  vae::Halo exchange_halo(const at::Tensor& rows, std::int64_t above, std::int64_t below) override {
    ++halo_calls;
    const int part = split().part();
    board_.posted[part] = rows;
    board_.barrier.arrive_and_wait();
    vae::Halo halo;
    if (part > 0) {
      const at::Tensor& neighbour = board_.posted[part - 1];
      halo.above = neighbour.narrow(1, neighbour.size(1) - above, above).clone();
    }
    if (part + 1 < split().parts()) halo.below = board_.posted[part + 1].narrow(1, 0, below).clone();
    board_.barrier.arrive_and_wait();
    return halo;
  }

  at::Tensor gather_rows(const at::Tensor& rows) override {
    ++gather_calls;
    board_.posted[split().part()] = rows;
    board_.barrier.arrive_and_wait();
    at::Tensor whole = at::cat(board_.posted, 1);
    board_.barrier.arrive_and_wait();
    return whole;
  }

  int halo_calls = 0;
  int gather_calls = 0;

 private:
  RowBoard& board_;
};

/// Runs `work` as every part of a split of `latent_rows` rows at the same time. Rethrows the first part's
/// exception. A part that throws leaves the barrier, so the others end, too.
inline void run_parts(int parts, std::int64_t latent_rows,
                      const std::function<void(ThreadedRowExchange&)>& work) {
  RowBoard board(parts);
  std::vector<std::exception_ptr> errors(parts);
  {
    std::vector<std::jthread> threads;
    threads.reserve(parts);
    for (int part = 0; part < parts; ++part) {
      threads.emplace_back([&, part] {
        try {
          ThreadedRowExchange exchange(vae::RowSplit(latent_rows, parts, part), board);
          work(exchange);
        } catch (...) {
          errors[part] = std::current_exception();
          board.barrier.arrive_and_drop();
        }
      });
    }
  }
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace wan::test
