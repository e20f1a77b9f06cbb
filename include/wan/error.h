#pragma once

#include <stdexcept>
#include <string>

namespace wan {

/// The exit codes of the programs. They are the same under a bare start, mpirun, srun and sbatch.
enum class ExitCode : int {
  done = 0,            ///< every item is done
  failure = 1,         ///< any other error
  usage = 2,           ///< usage or configuration: no work was started
  some_failed = 3,     ///< the run ended, but some items failed
  stopped_early = 85,  ///< stopped by a signal or the time limit; run the command again to continue
};

/// Base of all exceptions that the program throws on purpose. The message says what is wrong, where, and what
/// to do.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The command line, the manifest as a whole, the checkpoint or the environment is wrong. The program ends
/// with exit code 2 before any work.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// One item cannot be made; the other items continue. `stage` is one of text, negative_prompt, image, encode,
/// denoise, decode, write, manifest.
class ItemError : public Error {
 public:
  ItemError(std::string stage, const std::string& message) : Error(message), stage_(std::move(stage)) {}
  const std::string& stage() const { return stage_; }

 private:
  std::string stage_;
};

/// A GPU had too little memory for an item. Every rank of the team throws this error, outside all
/// collectives. The engine continues with other items. It tries this item again if a leaner placement is
/// left.
class MemoryError : public ItemError {
 public:
  using ItemError::ItemError;
};

}  // namespace wan
