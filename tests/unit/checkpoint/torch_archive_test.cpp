#include "checkpoint/torch_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "checkpoint/checkpoint.h"
#include "checkpoint_files.h"
#include "support/temp_dir.h"

namespace wan::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace std::string_literals;
using test::build_zip;
using test::little_endian;

/// data.pkl with one float tensor "w" in storage "0".
struct View {
  std::vector<std::int64_t> shape{4};
  std::vector<std::int64_t> stride{1};
  std::int64_t offset = 0;
  std::int64_t storage_elements = 4;
  std::string key = "0";
  std::string metadata = {};  ///< opcodes of the seventh argument
};

std::string text(const std::string& value) {
  return "X" + little_endian(static_cast<std::uint32_t>(value.size())) + value;
}

std::string integer(std::int64_t value) { return "\x8a\x08" + little_endian(value); }

std::string tuple(const std::vector<std::int64_t>& values) {
  std::string bytes = "(";
  for (const std::int64_t value : values) bytes += integer(value);
  return bytes + "t";
}

std::string pickle_of(const View& view) {
  return "\x80\x02}(" + text("w") + "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") +
         "ctorch\nFloatStorage\n" + text(view.key) + text("cpu") + integer(view.storage_elements) + "tQ" +
         integer(view.offset) + tuple(view.shape) + tuple(view.stride) + "\x89" +
         "ccollections\nOrderedDict\n)R" + view.metadata + "tRu.";
}

const std::string storage_bytes =
    little_endian(1.5F) + little_endian(2.5F) + little_endian(3.5F) + little_endian(4.5F);

std::string archive(const View& view, const std::string& storage = storage_bytes) {
  return build_zip({{"top/data.pkl", pickle_of(view)}, {"top/byteorder", "little"}, {"top/data/0", storage}});
}

std::vector<float> read_w(const std::filesystem::path& path) {
  const Checkpoint checkpoint = Checkpoint::open_torch_archive(path);
  const TensorEntry& entry = checkpoint.entry("w");
  std::vector<float> values(static_cast<std::size_t>(entry.elements()));
  checkpoint.read_floats(entry, 0, values);
  return values;
}

TEST(TorchArchive, TheNegativeBitOfAViewIsHonoured) {
  const wan::test::TempDir dir;
  test::write_bytes(dir / "f", archive({.metadata = "}" + text("neg") + "\x88s"}));
  EXPECT_THAT(read_w(dir / "f"), ElementsAre(-1.5F, -2.5F, -3.5F, -4.5F));
  const Checkpoint checkpoint = Checkpoint::open_torch_archive(dir / "f");
  std::vector<std::uint16_t> bits(4);
  checkpoint.read_bf16(checkpoint.entry("w"), 0, bits);
  EXPECT_EQ(float_from_bf16(bits[1]), -2.5F);
  test::write_bytes(dir / "strided",
                    archive({.shape = {2}, .stride = {2}, .metadata = "}" + text("neg") + "\x88s"}));
  EXPECT_THAT(read_w(dir / "strided"), ElementsAre(-1.5F, -3.5F));
  for (const std::string& plain : {"}"s, "N"s, "}" + text("neg") + "\x89s"}) {
    test::write_bytes(dir / "f", archive({.metadata = plain}));
    EXPECT_THAT(read_w(dir / "f"), ElementsAre(1.5F, 2.5F, 3.5F, 4.5F));
  }
  test::write_bytes(dir / "f", archive({.metadata = "}" + text("conj") + "\x88s"}));
  EXPECT_THAT(test::usage_error_of([&] { Checkpoint::open_torch_archive(dir / "f"); }),
              HasSubstr("has the property 'conj', which is not supported"));
}

TEST(TorchArchive, ReadsThroughLocalHeadersAndViews) {
  const wan::test::TempDir dir;
  test::write_bytes(dir / "a.pth", archive({}));
  EXPECT_THAT(read_w(dir / "a.pth"), ElementsAre(1.5F, 2.5F, 3.5F, 4.5F));
  test::write_bytes(dir / "t.pth", archive({.shape = {2, 2}, .stride = {1, 2}}));
  EXPECT_THAT(read_w(dir / "t.pth"), ElementsAre(1.5F, 3.5F, 2.5F, 4.5F));
  test::write_bytes(dir / "o.pth", archive({.shape = {2}, .stride = {2}, .offset = 1}));
  EXPECT_THAT(read_w(dir / "o.pth"), ElementsAre(2.5F, 4.5F));
}

TEST(TorchArchive, ReadsZip64AndComments) {
  const wan::test::TempDir dir;
  const std::vector<test::ZipMemberSpec> members{{"m/data.pkl", pickle_of({})}, {"m/data/0", storage_bytes}};
  test::write_bytes(dir / "a.pth", build_zip(members, {.zip64 = true}));
  EXPECT_THAT(read_w(dir / "a.pth"), ElementsAre(1.5F, 2.5F, 3.5F, 4.5F));
  test::write_bytes(dir / "b.pth", build_zip(members, {.comment = "PK\5\6 not the end"}));
  EXPECT_THAT(read_w(dir / "b.pth"), ElementsAre(1.5F, 2.5F, 3.5F, 4.5F));
}

TEST(TorchArchive, ReadsAStorageBeyondFourGibibytes) {
  const wan::test::TempDir dir;
  // The same archive with 5 GiB between its start and the rest. They are never written; only offsets change.
  constexpr std::uint64_t gap = 5ULL << 30;
  std::string bytes =
      build_zip({{"m/data.pkl", pickle_of({})}, {"m/data/0", storage_bytes}}, {.zip64 = true});
  const auto shift = [&](std::size_t at) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof(value));
    value += gap;
    std::memcpy(bytes.data() + at, &value, sizeof(value));
  };
  const std::string member_start = little_endian<std::uint32_t>(0x02014B50);
  const std::size_t first = bytes.find(member_start);
  const std::size_t second = bytes.find(member_start, first + 4);
  const std::size_t end64 = bytes.find(little_endian<std::uint32_t>(0x06064B50));
  const std::size_t locator = bytes.find(little_endian<std::uint32_t>(0x07064B50));
  ASSERT_NE(locator, std::string::npos);
  shift(second - 8);  // the last field of each member's Zip64 extra: the local header's offset
  shift(end64 - 8);
  shift(end64 + 48);   // where the directory begins
  shift(locator + 8);  // where the Zip64 end record is
  std::ofstream file(dir / "big.pth", std::ios::binary);
  file << "PK\3\4";
  file.seekp(static_cast<std::streamoff>(gap));
  file << bytes;
  file.close();
  ASSERT_TRUE(file.good());
  EXPECT_THAT(read_w(dir / "big.pth"), ElementsAre(1.5F, 2.5F, 3.5F, 4.5F));
}

struct BadArchive {
  std::string name;
  std::string bytes;
  std::string message;
};

std::vector<BadArchive> bad_views() {
  const auto big = std::int64_t{1} << 62;
  return {
      {"storage too short", archive({}, "12345678"), "must have 4 elements of F32, but is 8 bytes long"},
      {"storage missing", archive({.key = "1"}), "'top/data/1', which is not in the archive"},
      {"storage climbs", archive({.key = "../../etc/passwd"}), "not in the archive"},
      {"one element beyond", archive({.offset = 1}), "reaches beyond its storage '0', which has 4 elements"},
      {"stride beyond", archive({.shape = {2, 2}, .stride = {3, 1}}), "reaches beyond"},
      {"stride overflow", archive({.shape = {2, 2}, .stride = {big, big}}), "reaches beyond"},
      {"stride times size overflow", archive({.shape = {4}, .stride = {big}}), "reaches beyond"},
      {"offset 2^62", archive({.offset = big}), "reaches beyond"},
      {"offset of an empty tensor", archive({.shape = {0}, .offset = big}), "reaches beyond"},
      {"shape overflow", archive({.shape = {big, big}, .stride = {1, 1}}), "more elements than its storage"},
      {"stride 0 bomb", archive({.shape = {1 << 20, 1 << 20}, .stride = {0, 0}}),
       "more elements than its storage"},
      {"claimed storage of 2^62", archive({.shape = {big}, .storage_elements = big}), "must have "},
  };
}

std::vector<BadArchive> bad_zips() {
  const std::string good = archive({});
  const test::ZipMemberSpec pickle{"top/data.pkl", pickle_of({})};
  const test::ZipMemberSpec data{"top/data/0", storage_bytes};
  const auto changed = [&](test::ZipMemberSpec member, auto change) {
    change(member);
    return build_zip({pickle, member});
  };
  std::string wrong_offset = good;
  wrong_offset[wrong_offset.size() - 6] = '\x7f';
  return {
      {"empty", "", "is empty (0 bytes)"},
      {"short", "PK", "not a zip archive"},
      {"bare pickle", "\x80\x02}.", "not a zip archive"},
      {"legacy torch", "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.", "An older bare pickle is not read"},
      {"end cut off", good.substr(0, good.size() - 1), "the file is cut off"},
      {"half", good.substr(0, good.size() / 2), "the file is cut off"},
      {"start only", "PK\3\4", "the file is cut off"},
      {"wrong directory offset", wrong_offset, "directory"},
      {"no data.pkl", build_zip({data}), "no data.pkl"},
      {"data.pkl at the top", build_zip({{"data.pkl", pickle_of({})}, data}), "no data.pkl"},
      {"two data.pkl", build_zip({pickle, data, {"other/data.pkl", pickle_of({})}}),
       "more than one data.pkl"},
      {"member twice", build_zip({pickle, data, data}), "two members are named 'top/data/0'"},
      {"deflated", changed(data, [](auto& m) { m.method = 8; }), "'top/data/0' is compressed (method 8)"},
      {"encrypted", changed(data, [](auto& m) { m.flags = 1; }), "encrypted"},
      {"local name differs", changed(data, [](auto& m) { m.local_name = "top/data/9"; }), "local header"},
      {"local name shorter", changed(data, [](auto& m) { m.local_name = "x"; }), "local header"},
      {"size beyond the file", changed(data, [](auto& m) { m.claimed_bytes = 1 << 30; }),
       "does not lie before"},
      {"pickle of 1 GB", build_zip({{"top/data.pkl", pickle_of({}), 0, 0, "", 1 << 30}, data}),
       "at most 16777216"},
      {"counts another member", build_zip({pickle, data}, {.extra_members = 1}),
       "lists 2 members, its end record 3"},
      {"second disk", build_zip({pickle, data}, {.disk = 1}), "several disks"},
      {"big-endian", build_zip({pickle, data, {"top/byteorder", "big"}}), "byte order 'big'"},
      {"pickle of code",
       build_zip({{"top/data.pkl",
                   "\x80\x02"
                   "cos\nsystem\n."},
                  data}),
       "'os.system'"},
  };
}

TEST(TorchArchive, RefusesWhatIsWrongAndNamesIt) {
  const wan::test::TempDir dir;
  for (const auto& group : {bad_views(), bad_zips()}) {
    for (const BadArchive& bad : group) {
      SCOPED_TRACE(bad.name);
      test::write_bytes(dir / "bad.pth", bad.bytes);
      const std::string message =
          test::usage_error_of([&] { Checkpoint::open_torch_archive(dir / "bad.pth"); });
      EXPECT_THAT(message, HasSubstr(bad.message));
      EXPECT_THAT(message, HasSubstr("bad.pth"));
    }
  }
}

TEST(TorchArchive, DamagedRealFilesAreRefusedOrReadButNeverCrash) {
  const wan::test::TempDir dir;
  const std::string good = test::read_bytes(test::test_data("checkpoint/module.pth"));
  ASSERT_GT(good.size(), 1000U);
  std::mt19937 random(13);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = good;
    if (i % 8 == 0) {
      damaged.resize(random() % good.size());
    } else {
      damaged[random() % good.size()] = static_cast<char>(random());
    }
    test::write_bytes(dir / "damaged", damaged);
    try {
      const Checkpoint checkpoint = Checkpoint::open_torch_archive(dir / "damaged");
      for (const auto& [name, entry] : checkpoint.entries()) {
        std::vector<float> values(static_cast<std::size_t>(entry.elements()));
        if (is_floating(entry.dtype)) checkpoint.read_floats(entry, 0, values);
      }
    } catch (const UsageError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace wan::checkpoint
