#pragma once

#include <filesystem>
#include <memory>

#include "trace/hdf5.h"
#include "trace/trace_rows.h"

namespace wan::trace {

/// The tables of one trace file. docs/trace.md lists them with all columns; a test holds the two together.
/// All members throw Error with HDF5's reason. Do not use the tables after they failed once.
class TraceTables {
 public:
  /// Makes the empty tables and sets the attributes. `file` is new; `path` is for messages.
  TraceTables(Handle file, const std::filesystem::path& path, const RunAttributes& attributes);
  TraceTables(const TraceTables&) = delete;
  TraceTables& operator=(const TraceTables&) = delete;
  ~TraceTables();

  /// Appends the rows and sets the attributes, which are new. In memory until flush().
  void append(const TraceRows& rows);
  /// Passes everything to the file's driver.
  void flush();

 private:
  struct Tables;
  std::unique_ptr<Tables> tables_;
};

}  // namespace wan::trace
