#include "parallel/weight_loading.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/check.h"
#include "parallel/tensor_bytes.h"
#include "parallel/unit_upload.h"

namespace wan::parallel {
namespace {

constexpr std::int64_t task_bytes = std::int64_t{8} << 20;  // in memory, not in the file
constexpr int most_threads = 32;

/// Whether a GPU changes values of the model, also of units that are kept on the host.
bool merges_on_gpu(const WeightLoading::Model& model) {
  return model.read.on_gpu() != nullptr && model.shards->compute().on_gpu();
}

}  // namespace

WeightLoading::WeightLoading(std::vector<Model> models) : models_(std::move(models)) {
  for (const Model& model : models_) add_pieces(model);
  try {
    start_threads();
  } catch (...) {
    stop();
    throw;
  }
}

WeightLoading::~WeightLoading() { stop(); }

void WeightLoading::add_pieces(const Model& model) {
  const WeightShare& share = model.shards->share();
  const std::size_t first_of_model = pieces_.size();
  for (std::size_t unit = 0; unit < model.shards->units().size(); ++unit) {
    if (!model.units.empty() && !model.units.at(unit)) continue;
    const std::int64_t slice = shard_elements(model.shards->units()[unit], share.parts);
    const std::int64_t count = piece_elements(slice, share.reader_count());
    // The last pieces end where the slice ends: what lies behind it belongs to other ranks.
    const std::int64_t first = std::min(count * share.reader, slice);
    const at::Tensor& landing = model.shards->landing(static_cast<int>(unit));
    pieces_.push_back({.model = &model,
                       .unit = static_cast<int>(unit),
                       .out = landing.narrow(0, first, std::min(count, slice - first)),
                       .first = slice * share.part + first,
                       .needs_kept = model.shards->lands_in_arena() ? first_of_model : 0});
  }
}

void WeightLoading::start_threads() {
  const bool has_files =
      std::ranges::any_of(models_, [](const Model& model) { return model.read.reads_files(); });
  if (!has_files) return;
  const auto needs_upload = [](const Piece& piece) {
    return piece.out.is_cuda() || merges_on_gpu(*piece.model);
  };
  const bool uploads = std::ranges::any_of(pieces_, needs_upload);
  const int count = std::clamp(at::get_num_threads(), 1, most_threads);
  for (int i = 0; uploads && i < count; ++i) uploads_.push_back(std::make_unique<gpu::Upload>());
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
    threads_.emplace_back([this, upload = uploads ? uploads_[i].get() : nullptr] { work(upload); });
}

void WeightLoading::work(gpu::Upload* upload) {
  Task task{};
  while (take(task)) {
    try {
      read(task, upload);
    } catch (...) {
      note_error(std::current_exception());
      return;
    }
    const std::scoped_lock lock(mutex_);
    pieces_[task.piece].done += task.count;
    changed_.notify_all();
  }
}

/// Waits while the next piece may not be read yet. False if there is nothing to do any more.
bool WeightLoading::take(Task& task) {
  std::unique_lock lock(mutex_);
  while (!is_stopping_ && next_ < pieces_.size()) {
    Piece& piece = pieces_[next_];
    if (piece.given == piece.out.numel() || !piece.model->read.reads_files()) {
      ++next_;
      continue;
    }
    if (piece.needs_kept > kept_) {
      changed_.wait(lock);
      continue;
    }
    const std::int64_t most = task_bytes / static_cast<std::int64_t>(piece.out.element_size());
    task = {.piece = next_, .first = piece.given, .count = std::min(most, piece.out.numel() - piece.given)};
    piece.given += task.count;
    return true;
  }
  return false;
}

void WeightLoading::read(const Task& task, gpu::Upload* upload) {
  const Piece& piece = pieces_[task.piece];
  const checkpoint::UnitLayout& unit = piece.model->shards->units()[static_cast<std::size_t>(piece.unit)];
  const at::Tensor out = piece.out.narrow(0, task.first, task.count);
  const std::int64_t first = piece.first + task.first;
  if (out.is_cuda()) {
    upload_unit(unit, first, out, piece.model->read, *upload);
  } else if (merges_on_gpu(*piece.model)) {
    const at::Tensor merged = at::empty(out.sizes(), piece.model->shards->compute().options());
    upload_unit(unit, first, merged, piece.model->read, *upload);
    out.copy_(merged);
  } else {
    read_unit(unit, first, out, piece.model->read);
  }
}

void WeightLoading::note_error(std::exception_ptr error) {
  const std::scoped_lock lock(mutex_);
  if (!error_) error_ = std::move(error);
  is_stopping_ = true;
  changed_.notify_all();
}

void WeightLoading::stop() noexcept {
  {
    const std::scoped_lock lock(mutex_);
    is_stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

bool WeightLoading::await(std::size_t index) {
  Piece& piece = pieces_[index];
  if (!piece.model->read.reads_files()) {
    try {
      const checkpoint::UnitLayout& unit = piece.model->shards->units()[static_cast<std::size_t>(piece.unit)];
      read_unit(unit, piece.first, piece.out, piece.model->read);
    } catch (...) {
      note_error(std::current_exception());
    }
  }
  std::unique_lock lock(mutex_);
  changed_.wait(
      lock, [&] { return error_ || piece.done == piece.out.numel() || !piece.model->read.reads_files(); });
  return !error_;
}

/// Each reader's piece goes to all others. Collective over the node, also for ranks that read alone.
comm::Ticket WeightLoading::pass_on(const Piece& piece, const NodeRanks& node) {
  const WeightShards& shards = *piece.model->shards;
  const WeightShare& share = shards.share();
  const at::Tensor& landing = shards.landing(piece.unit);
  const std::int64_t count = landing.numel() / share.reader_count();
  std::vector<comm::PeerTransfer> transfers;
  for (int reader = 0; reader < share.reader_count(); ++reader) {
    if (reader == share.reader) continue;
    transfers.push_back({.peer = share.readers[static_cast<std::size_t>(reader)],
                         .send = bytes_of(landing.narrow(0, count * share.reader, count)),
                         .receive = writable_bytes_of(landing.narrow(0, count * reader, count))});
  }
  comm::Communicator& channel = shards.compute().on_gpu() ? *node.gpu : *node.host;
  return channel.exchange(transfers);
}

bool WeightLoading::finish(const NodeRanks* node) {
  bool is_well = true;
  comm::Ticket passing;  // of the piece before
  for (std::size_t i = 0; i < pieces_.size() && is_well; ++i) {
    is_well = await(i);
    if (node != nullptr) {
      std::int64_t failed = is_well ? 0 : 1;
      node->host->all_reduce(std::span(&failed, 1), comm::ReduceOp::max).wait_without_limit();
      is_well = failed == 0;
    }
    passing.wait();
    if (!is_well) break;
    if (node != nullptr) passing = pass_on(pieces_[i], *node);
    if (pieces_[i].model->shards->lands_in_arena()) {
      passing.wait();
      pieces_[i].model->shards->keep(pieces_[i].unit);
    }
    const std::scoped_lock lock(mutex_);
    ++kept_;
    changed_.notify_all();
  }
  passing.wait();
  stop();
  if (error_) std::rethrow_exception(error_);
  return is_well;
}

}  // namespace wan::parallel
