#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <random>

#include "checkpoint/checkpoint.h"
#include "checkpoint_files.h"
#include "support/temp_dir.h"

namespace wan::checkpoint {
namespace {

using test::little_endian;
using test::safetensors;
using ::testing::HasSubstr;

// The most memory that a hostile file may cost. AddressSanitizer keeps freed memory.
#ifdef __SANITIZE_ADDRESS__
constexpr long memory_limit_kib = 2'000'000;
#else
constexpr long memory_limit_kib = 500'000;
#endif

/// A file that must be refused, and the expected message.
struct Malformed {
  std::string name;
  std::string bytes;
  std::string message;
};

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

/// A file with one tensor "a" of the given fields and 8 bytes of data.
std::string with(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return safetensors(R"({"a":)" + entry(dtype, shape, offsets) + "}", 8);
}

const std::string good_entry = entry("\"F32\"", "[2]", "[0,8]");

std::vector<Malformed> bad_lengths() {
  const std::string good = R"({"a":)" + good_entry + "}";
  return {
      {"empty file", "", "is empty (0 bytes)"},
      {"7 bytes", std::string(7, '\1'), "7 bytes long"},
      {"length 0", little_endian<std::uint64_t>(0), "does not begin with '{'"},
      {"length only", little_endian<std::uint64_t>(2), "only 0 follow"},
      {"length one too long", little_endian<std::uint64_t>(3) + "{}", "claims 3 bytes, but only 2"},
      {"length 2^64-1", little_endian<std::uint64_t>(~0ULL) + "{}", "18446744073709551615"},
      {"length 2^63", little_endian<std::uint64_t>(1ULL << 63) + "{}", "at most 100000000"},
      {"length 100 MB and 1", little_endian<std::uint64_t>(100'000'001) + "{}", "at most 100000000"},
      {"length into the data", little_endian<std::uint64_t>(good.size() + 4) + good + std::string(8, '\1'),
       "control character"},
      {"length one short", little_endian<std::uint64_t>(good.size() - 1) + good + std::string(8, '\1'),
       "not valid JSON"},
      {"data one short", safetensors(good, 7), "cut off"},
      {"data one long", safetensors(good, 9), "take 8 bytes, but the data is 9"},
      {"no data", safetensors(good, 0), "'a' lies at bytes 0 to 8"},
      {"data and no tensors", safetensors("{}", 1), "take 0 bytes, but the data is 1"},
      {"zip", "PK\3\4" + std::string(100, '\0'), "is a zip archive, as torch.save() writes"},
  };
}

std::vector<Malformed> bad_json() {
  const std::string a = "\"a\":" + good_entry;
  return {
      {"not JSON", safetensors("{]", 0), "byte 9"},
      {"array", safetensors("[]", 0), "does not begin with '{'"},
      {"leading space", safetensors(" {}", 0), "does not begin with '{'"},
      {"byte order mark", safetensors("\xEF\xBB\xBF{}", 0), "does not begin with '{'"},
      {"two objects", safetensors("{}{}", 0), "not valid JSON"},
      {"trailing comma", safetensors("{" + a + ",}", 8), "not valid JSON"},
      {"NUL behind", safetensors(std::string("{}\0junk", 7), 0), "control character 0x00 at byte 10"},
      {"NUL in a name", safetensors(std::string("{\"a\0\":1}", 8), 0), "control character 0x00"},
      {"newline in a name", safetensors("{\"a\n\":1}", 0), "control character 0x0a"},
      {"invalid UTF-8", safetensors("{\"\xC3\x28\":1}", 0), "not valid JSON"},
      {"overlong UTF-8", safetensors("{\"\xC0\xAF\":1}", 0), "not valid JSON"},
      {"unpaired surrogate", safetensors(R"({"\ud800":1})", 0), "not valid JSON"},
      {"single quotes", safetensors("{'a':1}", 0), "not valid JSON"},
      {"comment", safetensors("{/* */}", 0), "not valid JSON"},
      {"deep nesting", safetensors(R"({"a":)" + std::string(1'000'000, '['), 0), "'a' is an array"},
      {"deep objects", safetensors(R"({"a":{"dtype":{"b":{"c":{}}}}})", 0), "'dtype' holds an object"},
      {"long number", safetensors(R"({"a":)" + std::string(1'000'000, '9') + "}", 0),
       "number of more than 64"},
      {"long string", safetensors("{\"" + std::string(17 << 20, 'x') + "\":1}", 0), "string of more than"},
      {"unclosed string", safetensors("{\"" + std::string(1 << 20, 'x'), 0), "not valid JSON"},
      {"duplicate tensor", safetensors("{" + a + "," + a + "}", 8), "'a' occurs twice"},
      {"duplicate by escape", safetensors("{" + a + R"(,"\u0061":)" + good_entry + "}", 8),
       "'a' occurs twice"},
      {"duplicate metadata", safetensors(R"({"__metadata__":{},"__metadata__":{}})", 0),
       "'__metadata__' occurs twice"},
      {"duplicate metadata key", safetensors(R"({"__metadata__":{"x":"1","x":"2"}})", 0), "'x' occurs twice"},
      {"metadata number", safetensors(R"({"__metadata__":{"x":1}})", 0), "__metadata__ holds the number 1"},
      {"metadata nested", safetensors(R"({"__metadata__":{"x":{}}})", 0), "__metadata__ holds an object"},
      {"metadata null", safetensors(R"({"__metadata__":null})", 0), "'__metadata__' is null"},
      {"metadata text", safetensors(R"({"__metadata__":"x"})", 0), "'__metadata__' is the text"},
  };
}

std::vector<Malformed> bad_fields() {
  const auto fields = [](const std::string& text) { return safetensors(R"({"a":{)" + text + "}}", 8); };
  return {
      {"tensor null", safetensors(R"({"a":null})", 0), "'a' is null"},
      {"tensor number", safetensors(R"({"a":1})", 0), "'a' is the number 1"},
      {"tensor array", safetensors(R"({"a":[]})", 0), "'a' is an array"},
      {"no fields", fields(""), "'a' has no 'dtype'"},
      {"no dtype", fields(R"("shape":[2],"data_offsets":[0,8])"), "'a' has no 'dtype'"},
      {"no shape", fields(R"("dtype":"F32","data_offsets":[0,8])"), "'a' has no 'shape'"},
      {"no offsets", fields(R"("dtype":"F32","shape":[2])"), "'a' has no 'data_offsets'"},
      {"unknown field", fields(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"extra":1)"),
       "field 'extra'"},
      {"duplicate dtype", fields(R"("dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8])"),
       "'dtype' occurs twice"},
      {"duplicate shape", fields(R"("dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8])"),
       "'shape' occurs twice"},
      {"unknown dtype", with("\"F8_E8M0\"", "[8]", "[0,8]"),
       "the dtype 'F8_E8M0': of the formats with 8 bits or fewer only F8_E4M3 and F8_E5M2"},
      {"no dtype", with("\"F12\"", "[8]", "[0,8]"), "the dtype 'F12'; expected one of"},
      {"lower-case dtype", with("\"f32\"", "[2]", "[0,8]"), "the dtype 'f32'"},
      {"dtype number", with("32", "[2]", "[0,8]"), "'dtype' holds the number 32"},
      {"dtype array", with(R"(["F32"])", "[2]", "[0,8]"), "'dtype' holds an array"},
      {"dtype unprintable", with(R"("\u001b[2J")", "[2]", "[0,8]"), "'\\x1b[2J'"},
      {"negative size", with("\"F32\"", "[-2]", "[0,8]"), "'shape' holds the number -2"},
      {"fractional size", with("\"F32\"", "[2.0]", "[0,8]"), "'shape' holds the number 2"},
      {"size 2^63", with("\"F32\"", "[9223372036854775808]", "[0,8]"), "the size 9223372036854775808"},
      {"size 2^64", with("\"F32\"", "[18446744073709551616]", "[0,8]"), "'shape' holds the number 1.8"},
      {"size text", with("\"F32\"", R"(["2"])", "[0,8]"), "'shape' holds the text '2'"},
      {"size null", with("\"F32\"", "[null]", "[0,8]"), "'shape' holds null"},
      {"shape number", with("\"F32\"", "2", "[0,8]"), "'shape' holds the number 2"},
      {"shape nested", with("\"F32\"", "[[2]]", "[0,8]"), "'shape' holds an array"},
      {"17 dimensions", with("\"F32\"", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]", "[0,8]"),
       "more than 16 dimensions"},
      {"one offset", with("\"F32\"", "[2]", "[0]"), "fewer than two"},
      {"no offset", with("\"F32\"", "[2]", "[]"), "fewer than two"},
      {"three offsets", with("\"F32\"", "[2]", "[0,8,8]"), "'data_offsets' holds the number 8"},
      {"negative offset", with("\"F32\"", "[2]", "[-8,0]"), "'data_offsets' holds the number -8"},
      {"fractional offset", with("\"F32\"", "[2]", "[0,8.5]"), "'data_offsets' holds the number 8.5"},
      {"offsets text", with("\"F32\"", "[2]", "\"0,8\""), "'data_offsets' holds the text"},
      {"offsets object", with("\"F32\"", "[2]", R"({"begin":0})"), "'data_offsets' holds an object"},
  };
}

std::vector<Malformed> bad_ranges() {
  const auto two = [](const std::string& first, const std::string& second, std::size_t data_bytes) {
    return safetensors(R"({"a":)" + first + R"(,"b":)" + second + "}", data_bytes);
  };
  const auto f32 = [](const std::string& shape, const std::string& offsets) {
    return entry("\"F32\"", shape, offsets);
  };
  return {
      {"reversed", with("\"F32\"", "[2]", "[8,0]"), "'a' lies at bytes 8 to 0"},
      {"beyond the data", with("\"F32\"", "[2]", "[4,12]"),
       "'a' lies at bytes 4 to 12 of the data, but the data is 8"},
      {"far beyond", with("\"F32\"", "[2]", "[18446744073709551607,18446744073709551615]"),
       "'a' lies at bytes"},
      {"too few bytes", with("\"F32\"", "[3]", "[0,8]"), "'a' takes 8 bytes; its shape [3] of F32 needs 12"},
      {"too many bytes", with("\"F32\"", "[1]", "[0,8]"), "'a' takes 8 bytes; its shape [1] of F32 needs 4"},
      {"scalar of 8 bytes", with("\"F32\"", "[]", "[0,8]"), "shape [] of F32 needs 4"},
      {"zero size", with("\"F32\"", "[0]", "[0,8]"), "needs 0"},
      {"wrong dtype", with("\"BF16\"", "[2]", "[0,8]"), "of BF16 needs 4"},
      {"elements overflow", with("\"F32\"", "[4294967296,4294967296]", "[0,8]"),
       "more elements than can be counted"},
      {"overflow to 0", with("\"F32\"", "[9223372036854775807,2,1]", "[0,8]"),
       "more elements than can be counted"},
      {"overflow beside 0", with("\"F32\"", "[0,4294967296,4294967296]", "[0,0]"),
       "more elements than can be counted"},
      {"bytes overflow to 8", with("\"F64\"", "[2305843009213693953]", "[0,8]"),
       "more elements than can be counted"},
      {"overlap", two(f32("[2]", "[0,8]"), f32("[2]", "[4,12]"), 12),
       "'b' begins at byte 4 of the data and overlaps"},
      {"same range", two(f32("[2]", "[0,8]"), f32("[2]", "[0,8]"), 8), "overlaps"},
      {"contained", two(f32("[4]", "[0,16]"), f32("[1]", "[4,8]"), 16), "'b' begins at byte 4"},
      {"empty inside another", two(f32("[2]", "[0,8]"), f32("[0]", "[4,4]"), 8), "'b' begins at byte 4"},
      {"hole in front", with("\"F32\"", "[1]", "[4,8]"), "bytes 0 to 4 of the data, before tensor 'a'"},
      {"hole between", two(f32("[1]", "[0,4]"), f32("[1]", "[8,12]"), 12),
       "bytes 4 to 8 of the data, before tensor 'b'"},
      {"hole at the end", with("\"F32\"", "[1]", "[0,4]"), "take 4 bytes, but the data is 8"},
  };
}

TEST(SafetensorsMalformed, EveryFileIsRefusedQuicklyAndTheFaultNamed) {
  const wan::test::TempDir dir;
  std::size_t files = 0;
  for (const auto& group : {bad_lengths(), bad_json(), bad_fields(), bad_ranges()}) {
    for (const Malformed& malformed : group) {
      SCOPED_TRACE(malformed.name);
      test::write_bytes(dir / "bad.safetensors", malformed.bytes);
      const double start_s = test::cpu_s();
      const std::string message =
          test::usage_error_of([&] { Checkpoint::open_safetensors_file(dir / "bad.safetensors"); });
      EXPECT_LT(test::cpu_s() - start_s, test::time_limit_s);
      EXPECT_THAT(message, HasSubstr(malformed.message));
      EXPECT_THAT(message, HasSubstr("bad.safetensors"));
      EXPECT_LT(message.size(), 1000U);
      ++files;
    }
  }
  EXPECT_GE(files, 60U);
}

TEST(SafetensorsMalformed, ManyEntriesAreBoundedInTimeAndMemory) {
  const wan::test::TempDir dir;
  const auto many = [](std::size_t count, bool overlap) {
    std::string header = "{";
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t begin = overlap && i + 1 == count ? 0 : 4 * i;
      header += (i == 0 ? "\"t" : ",\"t") + std::to_string(i) +
                R"(":{"dtype":"F32","shape":[1],"data_offsets":[)" + std::to_string(begin) + "," +
                std::to_string(begin + 4) + "]}";
    }
    return safetensors(header + "}", 4 * count);
  };
  test::write_bytes(dir / "overlap", many(100'000, true));
  test::write_bytes(dir / "too_many", many(250'000, false));
  const double start_s = test::cpu_s();
  EXPECT_THAT(test::usage_error_of([&] { Checkpoint::open_safetensors_file(dir / "overlap"); }),
              HasSubstr("overlaps"));
  EXPECT_LT(test::cpu_s() - start_s, test::time_limit_s);
  const double second_start_s = test::cpu_s();
  EXPECT_THAT(test::usage_error_of([&] { Checkpoint::open_safetensors_file(dir / "too_many"); }),
              HasSubstr("more than 200000 tensors"));
  EXPECT_LT(test::cpu_s() - second_start_s, test::time_limit_s);
  rusage usage{};
  ASSERT_EQ(::getrusage(RUSAGE_SELF, &usage), 0);
  EXPECT_LT(usage.ru_maxrss, memory_limit_kib);
}

TEST(SafetensorsMalformed, DamagedRealFilesAreRefusedOrReadButNeverCrash) {
  const wan::test::TempDir dir;
  const std::string good = test::read_bytes(test::test_data(
      "parity/t2v_square/ckpt/high_noise_model/diffusion_pytorch_model-00003-of-00003.safetensors"));
  ASSERT_GT(good.size(), 10'000U);
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, good.data(), sizeof(header_bytes));
  std::mt19937 random(11);
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string damaged = good;
    if (i % 4 == 0) {
      damaged.resize(random() % good.size());
    } else {
      damaged[random() % (8 + header_bytes)] = static_cast<char>(random());
    }
    test::write_bytes(dir / "damaged", damaged);
    try {
      Checkpoint::open_safetensors_file(dir / "damaged");  // a changed letter of a name is not an error here
    } catch (const UsageError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace wan::checkpoint
