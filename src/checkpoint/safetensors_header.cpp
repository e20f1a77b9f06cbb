#include "checkpoint/safetensors_header.h"

#include <cstddef>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "checkpoint/tensor_file.h"
#include "core/check.h"

namespace wan::checkpoint {
namespace {

constexpr std::size_t max_string_bytes = 16 << 20;  // training notes in __metadata__ can take megabytes
constexpr std::size_t max_literal_bytes = 64;       // numbers, true, false, null
constexpr std::size_t max_metadata_entries = 100'000;

bool is_structural(char c) {
  return c == '{' || c == '}' || c == '[' || c == ']' || c == ':' || c == ',' || c == ' ' || c == '\t' ||
         c == '\n' || c == '\r';
}

/// Limits the bytes that the JSON lexer would buffer for one token. Refuses control characters, because a NUL
/// would end the lexer's input early and hide the rest.
void check_tokens(std::string_view text, const std::string& file) {
  bool in_string = false;
  bool escaped = false;
  std::size_t token_bytes = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (static_cast<unsigned char>(c) < 0x20 && (in_string || !is_structural(c))) {
      fail<UsageError>("{}: the header has the control character 0x{:02x} at byte {}; the file is damaged",
                       file, static_cast<unsigned>(static_cast<unsigned char>(c)), i + 8);
    }
    ++token_bytes;
    if (in_string) {
      if (!escaped && c == '"') {
        in_string = false;
        token_bytes = 0;
      }
      escaped = !escaped && c == '\\';
    } else if (c == '"') {
      in_string = true;
      token_bytes = 0;
    } else if (is_structural(c)) {
      token_bytes = 0;
    }
    if (token_bytes > (in_string ? max_string_bytes : max_literal_bytes)) {
      fail<UsageError>("{}: the header has a {} of more than {} bytes at byte {}", file,
                       in_string ? "string" : "number", in_string ? max_string_bytes : max_literal_bytes,
                       i + 8);
    }
  }
}

class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderHandler(const std::string& file, std::map<std::string, std::string>* metadata)
      : file_(file), metadata_(metadata) {}

  std::vector<HeaderTensor> take() { return std::move(tensors_); }

  bool null() override { unexpected("null"); }
  bool boolean(bool /*value*/) override { unexpected("true or false"); }
  bool number_integer(number_integer_t value) override { unexpected(fmt::format("the number {}", value)); }
  bool number_float(number_float_t value, const string_t& /*text*/) override {
    unexpected(fmt::format("the number {}", value));
  }
  bool binary(binary_t& /*value*/) override { unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::shape) {
      if (value > static_cast<std::uint64_t>(INT64_MAX)) unexpected(fmt::format("the size {}", value));
      if (tensor_.shape.size() == max_dimensions) {
        fail<UsageError>("{}: tensor {} has more than {} dimensions", file_, in_quotes(tensor_.name),
                         max_dimensions);
      }
      tensor_.shape.push_back(static_cast<std::int64_t>(value));
    } else if (place_ == Place::offsets && offset_count_ < 2) {
      (offset_count_++ == 0 ? tensor_.begin_byte : tensor_.end_byte) = value;
    } else {
      unexpected(fmt::format("the number {}", value));
    }
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::metadata) {
      keep_metadata(value);
      return true;
    }
    if (place_ != Place::tensor || field_ != "dtype")
      unexpected(fmt::format("the text {}", in_quotes(value)));
    const std::optional<DType> dtype = parse_dtype(value);
    if (!dtype && (value.starts_with("F8_") || value.starts_with("F4") || value.starts_with("F6_"))) {
      fail<UsageError>(
          "{}: tensor {} has the dtype {}: of the formats with 8 bits or fewer only F8_E4M3 and F8_E5M2 are "
          "supported (not NVFP4, MXFP8 or MXFP4); use a checkpoint in BF16, F16 or fp8_scaled",
          file_, in_quotes(tensor_.name), in_quotes(value));
    }
    if (!dtype) {
      fail<UsageError>(
          "{}: tensor {} has the dtype {}; expected one of F64, F32, F16, BF16, F8_E4M3, F8_E5M2, I64, I32, "
          "I16, I8, U8, "
          "BOOL. "
          "Use the official file, or convert this tensor",
          file_, in_quotes(tensor_.name), in_quotes(value));
    }
    tensor_.dtype = *dtype;
    return true;
  }

  bool start_object(std::size_t /*elements*/) override {
    if (place_ == Place::before) {
      place_ = Place::top;
    } else if (place_ == Place::top) {
      place_ = tensor_.name == "__metadata__" ? Place::metadata : Place::tensor;
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool key(string_t& name) override {
    if (place_ == Place::top) {
      start_entry(name);
    } else if (place_ == Place::metadata) {
      if (!metadata_names_.insert(name).second) duplicate(name);
      field_ = name;
      if (metadata_names_.size() > max_metadata_entries) {
        fail<UsageError>("{}: more than {} entries in __metadata__", file_, max_metadata_entries);
      }
    } else {
      start_field(name);
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::tensor) finish_tensor();
    place_ = place_ == Place::top ? Place::after : Place::top;
    return true;
  }

  bool start_array(std::size_t /*elements*/) override {
    if (place_ != Place::tensor || field_ == "dtype") unexpected("an array");
    place_ = field_ == "shape" ? Place::shape : Place::offsets;
    return true;
  }

  bool end_array() override {
    if (place_ == Place::offsets && offset_count_ != 2) unexpected("an array of fewer than two numbers");
    place_ = Place::tensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& error) override {
    fail<UsageError>("{}: the header is not valid JSON at byte {}: {}", file_, position + 7,
                     in_quotes(error.what()));
  }

 private:
  enum class Place { before, top, metadata, tensor, shape, offsets, after };

  [[noreturn]] void unexpected(const std::string& what) const {
    if (place_ == Place::before) fail<UsageError>("{}: the header is {}, not a JSON object", file_, what);
    if (place_ == Place::top) {
      fail<UsageError>("{}: entry {} is {}, not an object with dtype, shape and data_offsets", file_,
                       in_quotes(tensor_.name), what);
    }
    if (place_ == Place::metadata)
      fail<UsageError>("{}: __metadata__ holds {}, but only texts are allowed", file_, what);
    fail<UsageError>("{}: tensor {}: '{}' holds {}; expected {}", file_, in_quotes(tensor_.name), field_,
                     what,
                     field_ == "dtype"   ? "a type name"
                     : field_ == "shape" ? "an array of non-negative integers"
                                         : "two non-negative integers");
  }

  [[noreturn]] void duplicate(const std::string& name) const {
    fail<UsageError>("{}: {} occurs twice in the header", file_, in_quotes(name));
  }

  void keep_metadata(const std::string& text) {
    constexpr std::size_t most = 1000;
    constexpr std::size_t longest_bytes = 4096;
    if (metadata_ == nullptr || metadata_->size() == most || text.size() > longest_bytes) return;
    metadata_->emplace(field_, text);
  }

  void start_entry(const std::string& name) {
    if (!names_.insert(name).second) duplicate(name);
    if (names_.size() > max_tensors_per_file + 1) {
      fail<UsageError>("{}: more than {} tensors in one file", file_, max_tensors_per_file);
    }
    tensor_ = {};
    tensor_.name = name;
    offset_count_ = 0;
    has_dtype_ = has_shape_ = has_offsets_ = false;
  }

  void start_field(const std::string& name) {
    bool* has = name == "dtype"          ? &has_dtype_
                : name == "shape"        ? &has_shape_
                : name == "data_offsets" ? &has_offsets_
                                         : nullptr;
    if (has == nullptr) {
      fail<UsageError>("{}: tensor {} has the unknown field {}; expected dtype, shape, data_offsets", file_,
                       in_quotes(tensor_.name), in_quotes(name));
    }
    if (*has) {
      fail<UsageError>("{}: tensor {}: '{}' occurs twice", file_, in_quotes(tensor_.name), name);
    }
    *has = true;
    field_ = name;
  }

  void finish_tensor() {
    if (!has_dtype_ || !has_shape_ || !has_offsets_) {
      fail<UsageError>("{}: tensor {} has no '{}'", file_, in_quotes(tensor_.name),
                       !has_dtype_   ? "dtype"
                       : !has_shape_ ? "shape"
                                     : "data_offsets");
    }
    tensors_.push_back(std::move(tensor_));
  }

  const std::string& file_;
  std::map<std::string, std::string>* metadata_;
  Place place_ = Place::before;
  HeaderTensor tensor_;
  std::string field_;
  int offset_count_ = 0;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  std::unordered_set<std::string> names_;
  std::unordered_set<std::string> metadata_names_;
  std::vector<HeaderTensor> tensors_;
};

}  // namespace

std::vector<HeaderTensor> parse_safetensors_header(std::string_view text, const std::string& file,
                                                   std::map<std::string, std::string>* metadata) {
  if (text.empty() || text.front() != '{') {
    fail<UsageError>("{}: the header does not begin with '{{' at byte 8; this is not a safetensors file",
                     file);
  }
  check_tokens(text, file);
  HeaderHandler handler(file, metadata);
  nlohmann::json::sax_parse(text.begin(), text.end(), &handler);
  return handler.take();
}

}  // namespace wan::checkpoint
