#pragma once

#include <filesystem>

#include "wan/engine.h"
#include "wan/session.h"

namespace wan::session {

/// The files of one request, on rank 0. They have hidden temporary names beside their final names until
/// publish(). The destructor removes unpublished files.
class OutputFiles {
 public:
  /// Throws ItemError (stage "write") if a file cannot lie there.
  explicit OutputFiles(const SessionOutputs& outputs);
  OutputFiles(const OutputFiles&) = delete;
  OutputFiles& operator=(const OutputFiles&) = delete;
  ~OutputFiles();

  const OutputPaths& temporary() const { return temporary_; }

  /// Gives the files their names, the video last. Throws ItemError or StorageError.
  void publish() const;

 private:
  SessionOutputs final_;
  OutputPaths temporary_;
};

}  // namespace wan::session
