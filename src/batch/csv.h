#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/parse_value.h"

namespace wan::batch {

/// A place in a text file. Lines and columns count from 1; a column is a character, not a byte.
struct Position {
  std::int64_t line = 1;
  std::int64_t column = 1;
};

struct CsvField {
  std::string text;
  Position position;  ///< where the field begins
};

struct CsvRecord {
  Position position;
  std::vector<CsvField> fields;         ///< at most the reader's `max_fields`
  std::size_t field_count = 0;          ///< how many there are in the file
  std::optional<Position> stray_quote;  ///< a quote inside a field that does not begin with one
};

/// The quoting is broken in a way that leaves open where records end.
class CsvError : public ValueError {
 public:
  CsvError(Position position, const std::string& message) : ValueError(message), position_(position) {}
  Position position() const { return position_; }

 private:
  Position position_;
};

/// Reads RFC 4180 records: comma, double quotes doubled inside quoted fields, line breaks inside quoted
/// fields; LF, CRLF or CR end a record. Empty lines are skipped. Works on bytes: UTF-8 is the caller's to
/// check. Memory stays bounded by the text and `max_fields` per record.
class CsvReader {
 public:
  /// `text` must outlive the reader and begin after any byte order mark.
  CsvReader(std::string_view text, std::size_t max_fields) : text_(text), max_fields_(max_fields) {}

  /// The next record; nothing at the end. Throws CsvError.
  std::optional<CsvRecord> next();

  void set_max_fields(std::size_t max_fields) { max_fields_ = max_fields; }

 private:
  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return text_[at_]; }
  bool at_line_break() const { return !at_end() && (peek() == '\n' || peek() == '\r'); }
  char take();
  void take_line_break();
  CsvField read_field(CsvRecord& record);
  void read_quoted(std::string& text);

  std::string_view text_;
  std::size_t max_fields_;
  std::size_t at_ = 0;
  Position position_;
};

}  // namespace wan::batch
