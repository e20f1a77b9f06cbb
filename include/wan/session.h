#pragma once

#include <mpi.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wan/engine.h"
#include "wan/error.h"
#include "wan/request.h"

namespace wan {

/// How a Session works. The defaults are those of wan_batch: an empty optional and `automatic` leave the
/// choice to the planner. All ranks must give the same values, except for the two functions.
struct SessionOptions {
  enum class Device { automatic, cuda, cpu };
  /// automatic: bf16 on GPUs, fp32 on the CPU; fp16: as wan_batch --precision fp16
  enum class Precision { automatic, bf16, fp32, fp16 };
  enum class Choice { automatic, on, off };

  std::filesystem::path checkpoint;  ///< a folder in the official layout
  std::optional<std::string> task;   ///< a name that `wan_batch --task` takes: what the checkpoint must be

  /// LoRAs that are added to the weights, each as `wan_batch --lora` takes it:
  /// FILE[:STRENGTH][@high|low|both].
  std::vector<std::string> loras = {};

  /// Whether the model is distilled: 4 steps without guidance are then the task's defaults (--lightning).
  Choice distilled = Choice::automatic;

  Device device = Device::automatic;
  Precision precision = Precision::automatic;
  std::string attention = "automatic";  ///< a name that `wan_batch --attention` takes

  // Where the weights lie.
  Choice shard_transformer = Choice::automatic;   ///< split the experts over the ranks (--dit-fsdp)
  Choice shard_text_encoder = Choice::automatic;  ///< split the text encoder over the ranks (--t5-fsdp)
  Choice offload_expert = Choice::automatic;  ///< the expert not in use waits on the host (--offload-model)
  bool text_encoder_on_host = false;          ///< computed by the CPU in fp32 (--t5-cpu)

  // How the ranks share a request.
  std::optional<int> cfg_size;      ///< 1 or 2: ranks that compute the two passes of guidance
  std::optional<int> ulysses_size;  ///< ranks that share a sequence

  // The largest request that the layout is planned for; empty: the task's defaults. Larger ones may fail with
  // a MemoryError.
  std::optional<PixelSize> largest_size;
  std::optional<int> largest_frame_num;  ///< pixel frames, 4n+1

  std::optional<double> collective_timeout_s;  ///< longest that one collective may take; empty: 120

  /// Hears, on rank 0, what the user should know of a request that is made all the same.
  std::function<void(const std::string& message)> on_note;

  /// Hears that a collective of GPUs hangs or has failed, on a thread of its own and on each rank that
  /// notices. The message names the call and how far the other ranks are. See "Errors" at Session. Empty: the
  /// message goes to stderr.
  std::function<void(const std::string& message)> on_hang;
};

/// Where the files of a request go. Only rank 0 reads these values.
struct SessionOutputs {
  std::filesystem::path video;         ///< an MP4; its folder must exist
  std::filesystem::path latents = {};  ///< a safetensors file with the latent and the frames; empty: none
};

/// Asked between two steps, on every rank: the request ends in order as soon as one rank returns true.
using StopFunction = std::function<bool(int steps_done, int step_count)>;

/// Makes videos inside a program that has its own MPI. All ranks of a communicator make each video together.
///
/// MPI: the program initialises MPI with MPI_THREAD_FUNNELED or more, and finalises it after the last Session
/// is gone. A Session works on a duplicate of the communicator. All calls come from the thread that
/// initialised MPI. open(), run() and the end of a Session are collective: every rank of the communicator
/// makes them in the same order. Sessions may follow each other in a process; one exists at a time.
///
/// GPUs: each rank takes the GPU whose number is its place among the ranks of its node. If the communicator
/// is only a part of the job, show each rank its own GPU (CUDA_VISIBLE_DEVICES).
///
/// Errors are exceptions. A Session never ends the process and never calls MPI_Abort.
/// - UsageError from open(): the options, the checkpoint or the machine are wrong. The same on every rank.
/// - ItemError, with its children MemoryError and StorageError, from run(): this request cannot be made. The
///   same on every rank. The Session can make other requests.
/// - Error from run(): the ranks have lost each other, for example by a collective that took longer than
///   collective_timeout_s. It may come on some ranks only. The Session refuses later requests. Destroy it on
///   all ranks; a new one can be opened if all ranks are still there.
///
/// Limits: a collective of GPUs (NCCL) that hangs does not return, so run() does not either. on_hang receives
/// a message about it, and only the end of the process helps. If connecting the GPUs times out, open()
/// throws, but a thread stays inside NCCL; the process then ends without the destructors of static objects. A
/// rank that dies ends the job by the launcher's rules.
class Session {
 public:
  /// Reads the checkpoint onto the ranks of `communicator`. Collective. Throws UsageError or Error.
  static Session open(const SessionOptions& options, MPI_Comm communicator);

  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  /// Frees weights and communicators. Collective.
  ~Session();

  /// The checkpoint's task and its default values.
  const Task& task() const;

  /// A request with the task's defaults; `image` is left out for text to video. The seed was drawn by open()
  /// and is the same on every rank.
  Request make_request(const std::string& prompt, const std::filesystem::path& image = {}) const;

  /// Checks a request on this rank alone, without computing: values, prompt, image. Throws ItemError.
  void validate(const Request& request) const;

  /// Makes a video. Collective: every rank gives the same request. The files appear under their names when
  /// they are complete, and replace older ones then; a request that fails or is stopped leaves none. Without
  /// memory enough it is tried once more with weights that take less, as are all later requests.
  /// `observer`: hears phases and steps, on rank 0 only; may be null. The report is meaningful on rank 0, its
  /// `end` on every rank: finished or stopped. An exception out of `observer` or `stop` ends the request in
  /// order: that rank throws it again, the others throw ItemError.
  RequestReport run(const Request& request, const SessionOutputs& outputs, Observer* observer = nullptr,
                    const StopFunction& stop = {});

 private:
  class Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace wan
