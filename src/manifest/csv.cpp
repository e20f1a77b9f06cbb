#include "manifest/csv.h"

#include <algorithm>

#include "core/check.h"

namespace wan::manifest {

/// Consumes one byte; only the first byte of a character moves the column.
char CsvReader::take() {
  const char c = text_[at_++];
  if (c == '\n' || (c == '\r' && (at_end() || peek() != '\n'))) {
    ++position_.line;
    position_.column = 1;
  } else if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80U) {
    ++position_.column;
  }
  return c;
}

void CsvReader::take_line_break() {
  if (take() == '\r' && !at_end() && peek() == '\n') take();
}

void CsvReader::take_blanks() {
  while (!at_end() && is_blank(peek())) take();
}

/// Whether the field's first character, apart from blanks, is a quote.
bool CsvReader::begins_with_quote() const {
  std::size_t first = at_;
  while (first < text_.size() && is_blank(text_[first])) ++first;
  return first < text_.size() && text_[first] == '"';
}

/// Whether the record's first line has a quote written as \", as some programs write it.
bool CsvReader::has_backslash_quote() const {
  const std::size_t end = std::min(text_.find_first_of("\r\n", record_begin_), text_.size());
  return text_.substr(record_begin_, end - record_begin_).find("\\\"") != std::string_view::npos;
}

/// After a \" the quotes no longer tell where the record ends. The record then ends with its first line, else
/// with the line that is being read.
void CsvReader::give_up(CsvRecord& record, Problem problem) {
  if (has_backslash_quote()) {
    problem.message =
        "a quote inside a quoted field is written twice (\"\"); a backslash before it does not help";
    problem.position = record.position;
    at_ = record_begin_;
    position_ = record.position;
  }
  record.problem = std::move(problem);
  while (!at_end() && !at_line_break()) take();
}

void CsvReader::read_quoted(CsvRecord& record, CsvField& field) {
  take_blanks();
  const Position begin = position_;
  field.position = begin;
  field.is_quoted = true;
  take();  // the opening quote
  while (!at_end()) {
    const char c = take();
    if (c != '"') {
      field.text += c;
    } else if (!at_end() && peek() == '"') {
      field.text += take();
    } else {
      take_blanks();
      if (!at_field_end()) {
        give_up(record,
                {.position = position_,
                 .message = "text after a closing quote; write a quote inside a quoted field twice (\"\")"});
      }
      return;
    }
  }
  if (!has_backslash_quote()) throw CsvError(begin, "a quote is opened here and never closed");
  give_up(record, {.position = begin, .message = {}});
}

CsvField CsvReader::read_field(CsvRecord& record) {
  CsvField field{.text = {}, .position = position_};
  if (begins_with_quote()) {
    read_quoted(record, field);
    return field;
  }
  while (!at_field_end()) {
    if (peek() == '"' && !record.problem) {
      record.problem = Problem{.position = position_,
                               .message =
                                   "a quote in the middle of a field; put the whole field in quotes, and "
                                   "write inner quotes twice (\"\")"};
    }
    field.text += take();
  }
  return field;
}

std::optional<CsvRecord> CsvReader::next() {
  while (at_line_break()) take_line_break();
  if (at_end()) return std::nullopt;
  record_begin_ = at_;
  CsvRecord record{.position = position_, .fields = {}, .field_count = 0, .surplus = {}, .problem = {}};
  while (true) {
    CsvField field = read_field(record);
    if (record.field_count++ < max_fields_) {
      record.fields.push_back(std::move(field));
    } else if (!record.surplus && field.text.find_first_not_of(" \t") != std::string::npos) {
      record.surplus = std::move(field);
    }
    if (at_end()) return record;
    if (at_line_break()) {
      take_line_break();
      return record;
    }
    take();  // the delimiter
  }
}

}  // namespace wan::manifest
