#pragma once

#include <stdexcept>
#include <string>

namespace wan {

/// What the process returns. The same numbers under a bare start, mpirun, srun and sbatch.
enum class ExitCode : int {
  done = 0,            ///< every item is done
  failure = 1,         ///< anything not named below
  usage = 2,           ///< usage or configuration: nothing was started
  some_failed = 3,     ///< the run went through, some items failed
  stopped_early = 85,  ///< a signal or the time limit; run again to go on
};

/// Base of everything the program throws on purpose. The message is complete: what was wrong, where, what to
/// do.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The command line, the manifest as a whole, the checkpoint or the environment is wrong; exit code 2 before
/// any work.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// One item cannot be made; the others go on. `stage` is one of text, negative_prompt, image, encode,
/// denoise, decode, write, manifest.
class ItemError : public Error {
 public:
  ItemError(std::string stage, const std::string& message) : Error(message), stage_(std::move(stage)) {}
  const std::string& stage() const { return stage_; }

 private:
  std::string stage_;
};

/// A GPU had too little memory for an item. Every rank of the team throws it alike, out of all collectives:
/// the engine goes on with other items, and with this one if it can be made to need less.
class MemoryError : public ItemError {
 public:
  using ItemError::ItemError;
};

}  // namespace wan
