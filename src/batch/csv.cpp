#include "batch/csv.h"

#include "core/check.h"

namespace wan::batch {

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

void CsvReader::read_quoted(std::string& text) {
  const Position begin = position_;
  take();  // the opening quote
  while (!at_end()) {
    const char c = take();
    if (c != '"') {
      text += c;
    } else if (!at_end() && peek() == '"') {
      text += take();
    } else {
      if (!at_end() && peek() != ',' && !at_line_break()) {
        throw CsvError(position_,
                       "text after a closing quote; write a quote inside a quoted field twice (\"\")");
      }
      return;
    }
  }
  throw CsvError(begin, "a quote is opened here and never closed");
}

CsvField CsvReader::read_field(CsvRecord& record) {
  CsvField field{.text = {}, .position = position_};
  if (!at_end() && peek() == '"') {
    read_quoted(field.text);
    return field;
  }
  while (!at_end() && peek() != ',' && !at_line_break()) {
    if (peek() == '"' && !record.stray_quote) record.stray_quote = position_;
    field.text += take();
  }
  return field;
}

std::optional<CsvRecord> CsvReader::next() {
  while (at_line_break()) take_line_break();
  if (at_end()) return std::nullopt;
  CsvRecord record{.position = position_, .fields = {}, .field_count = 0, .stray_quote = {}};
  while (true) {
    CsvField field = read_field(record);
    if (record.field_count++ < max_fields_) record.fields.push_back(std::move(field));
    if (at_end()) return record;
    if (at_line_break()) {
      take_line_break();
      return record;
    }
    take();  // the comma
  }
}

}  // namespace wan::batch
