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

  void fill_halo(const at::Tensor& padded, std::int64_t above, std::int64_t below) override {
    ++halo_calls;
    const int part = split().part();
    const std::int64_t height = padded.size(2) - above - below;
    at::Tensor first = padded.narrow(2, 0, above);
    at::Tensor last = padded.narrow(2, above + height, below);
    board_.posted[part] = padded.narrow(2, above, height);
    board_.barrier.arrive_and_wait();
    if (part > 0) {
      const at::Tensor& neighbour = board_.posted[part - 1];
      first.copy_(neighbour.narrow(2, neighbour.size(2) - above, above));
    } else {
      first.zero_();
    }
    if (part + 1 < split().parts()) {
      last.copy_(board_.posted[part + 1].narrow(2, 0, below));
    } else {
      last.zero_();
    }
    board_.barrier.arrive_and_wait();
  }

  at::Tensor gather_rows(const at::Tensor& rows) override {
    ++gather_calls;
    board_.posted[split().part()] = rows;
    board_.barrier.arrive_and_wait();
    at::Tensor whole = at::cat(board_.posted, 2);
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
