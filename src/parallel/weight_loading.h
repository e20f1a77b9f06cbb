#pragma once

#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "gpu/upload.h"
#include "parallel/node_ranks.h"
#include "parallel/weight_shards.h"

namespace wan::parallel {

/// Brings values into the shards of one model or several. Threads read this rank's pieces of all units, in
/// order, from construction on, as many as LibTorch may use. finish() passes the pieces on between the ranks
/// of the node that hold the same weights. So the node reads each value once.
class WeightLoading {
 public:
  struct Model {
    WeightShards* shards;  ///< must live as long as the loading
    ParameterReader read;
    std::vector<bool> units = {};  ///< whether to read each unit; empty: all
  };

  /// Begins to read. Makes no collective.
  explicit WeightLoading(std::vector<Model> models);
  WeightLoading(const WeightLoading&) = delete;
  WeightLoading& operator=(const WeightLoading&) = delete;
  WeightLoading(WeightLoading&&) = delete;
  WeightLoading& operator=(WeightLoading&&) = delete;
  /// Stops the threads at their next piece and waits for them.
  ~WeightLoading();

  /// Returns when all values are in place, on a GPU in the order of the compute stream. Throws what the
  /// reader threw on this rank. `node`: collective over its ranks; null if this rank reads everything that it
  /// holds. Waits for the other ranks' reading without a limit. Returns false if another rank of the node
  /// could not read: its error is thrown there, so the ranks must agree after this call.
  bool finish(const NodeRanks* node);

 private:
  /// This rank's piece of one unit.
  struct Piece {
    const Model* model;
    int unit;
    at::Tensor out;              ///< where it lands, one-dimensional
    std::int64_t first;          ///< its place in the unit's flat buffer
    std::int64_t given = 0;      ///< elements that threads have taken on
    std::int64_t done = 0;       ///< elements that are read, and on a GPU on their way there
    std::size_t needs_kept = 0;  ///< pieces that must be passed on before this one may be read
  };
  /// A range of a piece that one thread reads at a time.
  struct Task {
    std::size_t piece;
    std::int64_t first, count;
  };

  void add_pieces(const Model& model);
  void start_threads();
  void work(gpu::Upload* upload);
  bool take(Task& task);
  void read(const Task& task, gpu::Upload* upload);
  void note_error(std::exception_ptr error);
  void stop() noexcept;
  /// Whether a piece was read; false if something failed on this rank.
  bool await(std::size_t piece);
  static comm::Ticket pass_on(const Piece& piece, const NodeRanks& node);

  std::vector<Model> models_;
  std::vector<Piece> pieces_;

  std::mutex mutex_;  ///< guards the members below, and `given` and `done` of the pieces
  std::condition_variable changed_;
  std::size_t next_ = 0;  ///< the piece that threads take ranges of
  std::size_t kept_ = 0;  ///< pieces that were passed on
  bool is_stopping_ = false;
  std::exception_ptr error_;  ///< the first on this rank

  std::vector<std::unique_ptr<gpu::Upload>> uploads_;  ///< one for each thread, on a GPU
  std::vector<std::thread> threads_;
};

}  // namespace wan::parallel
