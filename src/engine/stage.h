#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wan::engine {

class RequestRun;

/// One stage of a request: takes tensors that earlier stages made, by name, and makes others.
class Stage {
 public:
  virtual ~Stage() = default;

  /// The phase that traces and reports know it as; empty for a stage that is too short to be one.
  virtual std::string_view phase() const = 0;
  /// Names of the tensors in the request's values.
  virtual std::vector<std::string_view> takes() const = 0;
  virtual std::vector<std::string_view> makes() const = 0;
  /// Whether to run the stage; the same on every rank. A stage that only feeds the denoiser is not needed
  /// where no step is left.
  virtual bool is_needed(const RequestRun& /*run*/) const { return true; }
  /// Collective over the request's team. Throws ItemError on every rank alike, or StorageError.
  virtual void run(RequestRun& run) = 0;
};

using Stages = std::vector<std::unique_ptr<Stage>>;

/// Stages [first, end) of a pipeline run once for each clip of a video.
struct ClipLoop {
  std::size_t first = 0;
  std::size_t end = 0;
  /// The number of clips, the same on every rank. Called once the stages before the loop have run.
  std::function<int(const RequestRun& run)> clips;
  /// Names of the tensors that a clip needs from the clips before it. A saved state holds them.
  std::vector<std::string> carried;
};

/// The stages that make a video of one task, in their order.
class Pipeline {
 public:
  /// Throws Error if a stage takes a tensor that no stage has made before it, or if the loop is not one.
  explicit Pipeline(Stages stages, std::optional<ClipLoop> loop = std::nullopt);

  const Stages& stages() const { return stages_; }
  const std::optional<ClipLoop>& loop() const { return loop_; }

 private:
  void check() const;

  Stages stages_;
  std::optional<ClipLoop> loop_;
};

}  // namespace wan::engine
