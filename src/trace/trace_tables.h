#pragma once

#include <filesystem>
#include <memory>

#include "trace/trace_rows.h"

namespace wan::trace {

/// The tables of one trace file. docs/trace.md lists them with all columns; a test holds the two together.
/// All members throw Error with HDF5's reason. Do not use the tables after they failed once.
class TraceTables {
 public:
  /// Makes the file with empty tables and the attributes.
  TraceTables(const std::filesystem::path& path, const RunAttributes& attributes);
  TraceTables(const TraceTables&) = delete;
  TraceTables& operator=(const TraceTables&) = delete;
  ~TraceTables();

  /// Appends the rows and sets the attributes, which are new. In memory until publish().
  void append(const TraceRows& rows);
  /// Brings the tables to the disk: a reader finds all rows or none of those since the last call.
  void publish();

 private:
  struct Tables;
  std::unique_ptr<Tables> tables_;
};

}  // namespace wan::trace
