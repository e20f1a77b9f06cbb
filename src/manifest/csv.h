#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/parse_value.h"

namespace wan::manifest {

/// A place in a text file. Lines and columns count from 1; a column is a character, not a byte.
struct Position {
  std::int64_t line = 1;
  std::int64_t column = 1;
};

/// A problem of a row, and its place.
struct Problem {
  Position position;
  std::string message;
};

struct CsvField {
  std::string text;
  Position position;  ///< where the field begins
  bool is_quoted = false;
};

struct CsvRecord {
  Position position;
  std::vector<CsvField> fields;     ///< at most the reader's `max_fields`
  std::size_t field_count = 0;      ///< the number of fields in the file
  std::optional<CsvField> surplus;  ///< the first field beyond `max_fields` that is not blank
  std::optional<Problem> problem;   ///< in the quoting; the fields before it are right
};

/// The quoting is broken so that nobody can tell where records end.
class CsvError : public ValueError {
 public:
  CsvError(Position position, const std::string& message) : ValueError(message), position_(position) {}
  Position position() const { return position_; }

 private:
  Position position_;
};

/// Reads RFC 4180 records: a delimiter, double quotes doubled inside quoted fields, and line breaks inside
/// quoted fields. LF, CRLF or CR end a record. Blanks around a quoted field are dropped; blanks around any
/// other field stay. Empty lines are skipped. A record with broken quoting has a problem, and the next record
/// begins on the next line. The reader works on bytes: the caller checks that the text is UTF-8. The memory
/// is bounded by the text and by `max_fields` per record.
class CsvReader {
 public:
  /// `text` must outlive the reader. It begins after any byte order mark, on line `first_line` of the file.
  CsvReader(std::string_view text, std::size_t max_fields, char delimiter = ',', std::int64_t first_line = 1)
      : text_(text),
        max_fields_(max_fields),
        delimiter_(delimiter),
        position_({.line = first_line, .column = 1}) {}

  /// The next record; nothing at the end. Throws CsvError for a quote that is never closed.
  std::optional<CsvRecord> next();

  void set_max_fields(std::size_t max_fields) { max_fields_ = max_fields; }

 private:
  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return text_[at_]; }
  bool at_line_break() const { return !at_end() && (peek() == '\n' || peek() == '\r'); }
  bool at_field_end() const { return at_end() || peek() == delimiter_ || at_line_break(); }
  bool is_blank(char c) const { return (c == ' ' || c == '\t') && c != delimiter_; }
  char take();
  void take_line_break();
  void take_blanks();
  bool begins_with_quote() const;
  CsvField read_field(CsvRecord& record);
  void read_quoted(CsvRecord& record, CsvField& field);
  bool has_backslash_quote() const;
  void give_up(CsvRecord& record, Problem problem);

  std::string_view text_;
  std::size_t max_fields_;
  char delimiter_;
  std::size_t at_ = 0;
  std::size_t record_begin_ = 0;
  Position position_;
};

}  // namespace wan::manifest
