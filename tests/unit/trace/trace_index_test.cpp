#include "trace/trace_index.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "core/file.h"
#include "support/temp_dir.h"
#include "support/trace_sample.h"
#include "trace/hdf5.h"

namespace wan::trace {
namespace {

using testing::HasSubstr;

int count_links(const std::filesystem::path& index) {
  const Handle file = open_file(index);
  H5G_info_t info{};
  checked(H5Gget_info(file.get(), &info), "count links", index);
  return static_cast<int>(info.nlinks);
}

void write_trace(const std::filesystem::path& path) {
  std::filesystem::create_directories(path.parent_path());
  TraceWriter(path, {}).begin_item(test::sample_item("a"));
}

TEST(TraceIndex, LeadsIntoEachFileAndMovesWithItsFolder) {
  const test::TempDir dir;
  for (const char* name : {"run1-g00", "run1-g01"}) {
    const std::filesystem::path file = dir / "out" / "trace" / (std::string(name) + ".h5");
    write_trace(file);
    add_to_index(dir / "out" / "trace.h5", file);
    add_to_index(dir / "out" / "trace.h5", file);
  }
  EXPECT_EQ(count_links(dir / "out" / "trace.h5"), 2);
  std::filesystem::rename(dir / "out", dir / "moved");
  const Handle index = open_file(dir / "moved" / "trace.h5");
  for (const char* name : {"run1-g00/items/id", "run1-g01/items/id"}) {
    const Handle column(H5Dopen2(index.get(), name, H5P_DEFAULT), H5Dclose);
    EXPECT_TRUE(column) << name << ": " << error_stack_text();
  }
  EXPECT_FALSE(std::filesystem::exists(dir / "moved" / "trace.h5.tmp"));
}

TEST(TraceIndex, AnIndexElsewhereFindsTheFiles) {
  const test::TempDir dir;
  write_trace(dir / "out" / "trace" / "r.h5");
  std::filesystem::create_directories(dir / "else");
  add_to_index(dir / "else" / "index.h5", dir / "out" / "trace" / "r.h5");
  const Handle index = open_file(dir / "else" / "index.h5");
  const Handle column(H5Dopen2(index.get(), "r/items/id", H5P_DEFAULT), H5Dclose);
  EXPECT_TRUE(column) << error_stack_text();
}

TEST(TraceIndex, ConcurrentJobsLoseNoLink) {
  const test::TempDir dir;
  constexpr int jobs = 8;
  constexpr int links_each = 6;
  std::vector<pid_t> children;
  for (int job = 0; job < jobs; ++job) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      try {
        for (int link = 0; link < links_each; ++link) {
          add_to_index(dir / "trace.h5", dir / "trace" / fmt::format("job{}-g{:02}.h5", job, link));
        }
        ::_exit(0);
      } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        ::_exit(1);
      }
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  EXPECT_EQ(count_links(dir / "trace.h5"), jobs * links_each);
}

TEST(TraceIndex, SaysWhetherItCouldLock) {
  const test::TempDir dir;
  const char* played = std::getenv("WAN_PLAYED");  // NOLINT(concurrency-mt-unsafe)
  const std::string problem = add_to_index(dir / "trace.h5", dir / "trace" / "a.h5");
  EXPECT_EQ(add_to_index(dir / "trace.h5", dir / "trace" / "b.h5"), problem);
  EXPECT_EQ(count_links(dir / "trace.h5"), 2);
  if (played == nullptr) {
    EXPECT_EQ(problem, "");
  } else {
    EXPECT_THAT(problem, HasSubstr("trace.h5.lock cannot be locked: "));
  }
}

TEST(TraceIndex, FollowsNoLinkAndWaitsForNoPipe) {
  for (const char* name : {"trace.h5", "trace.h5.tmp", "trace.h5.lock", "trace"}) {
    for (const bool is_pipe : {false, true}) {
      const test::TempDir dir;
      write_file_atomically(dir / "precious", "mine");
      if (is_pipe) {
        ASSERT_EQ(::mkfifo((dir / name).c_str(), 0600), 0);
      } else {
        std::filesystem::create_symlink(dir / "precious", dir / name);
      }
      try {
        add_to_index(dir / "trace.h5", dir / "trace" / "a.h5");
        FAIL() << name << " was accepted";
      } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr(std::string(name) + " is in the way of"));
        EXPECT_THAT(error.what(), HasSubstr(is_pipe ? "a named pipe" : "a symbolic link"));
      }
      EXPECT_EQ(read_text_file(dir / "precious", 100), "mine");
    }
  }
}

TEST(TraceIndex, TheIndexOfADeadProcessIsNotInTheWay) {
  const test::TempDir dir;
  write_file_atomically(dir / "trace.h5.tmp", "half an index");
  add_to_index(dir / "trace.h5", dir / "trace" / "a.h5");
  EXPECT_EQ(count_links(dir / "trace.h5"), 1);
  EXPECT_FALSE(std::filesystem::exists(dir / "trace.h5.tmp"));
}

/// Adds a link to a damaged index; returns the message, or the number of links.
std::string added_to_damaged(const std::filesystem::path& index) {
  try {
    add_to_index(index, index.parent_path() / "trace" / "new.h5");
    return fmt::format("{} links", count_links(index));
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(TraceIndex, ADamagedIndexIsMadeAnewOrNamed) {
  const test::TempDir dir;
  const std::filesystem::path index = dir / "trace.h5";
  for (const int links : {1, 12}) {  // few lie in the group's header, many in a heap
    std::filesystem::remove(index);
    for (int link = 0; link < links; ++link)
      add_to_index(index, dir / "trace" / fmt::format("run-g{:02}.h5", link));
    const std::string good = read_text_file(index, 1 << 20);
    int renewed = 0;
    for (std::size_t at = 0; at < good.size(); at += links == 1 ? 9 : 37) {
      std::string bad = good;
      bad[at] = static_cast<char>(~bad[at]);
      std::ofstream(index, std::ios::binary) << bad;
      const std::string result = added_to_damaged(index);
      // A link that is damaged itself may be lost.
      if (result == fmt::format("{} links", links + 1) || result == fmt::format("{} links", links)) {
        ++renewed;
      } else {
        ASSERT_THAT(result, HasSubstr("trace.h5 is not an index of traces")) << at;
        ASSERT_EQ(read_text_file(index, 1 << 20), bad) << at;
      }
    }
    EXPECT_GT(renewed, 50);
  }
}

TEST(TraceIndex, AnIndexThatIsCutOffOrHoldsMoreIsLeftAlone) {
  const test::TempDir dir;
  const std::filesystem::path index = dir / "trace.h5";
  add_to_index(index, dir / "trace" / "a.h5");
  const std::string good = read_text_file(index, 1 << 20);
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{100}, good.size() - 1}) {
    write_file_atomically(index, good.substr(0, size));
    EXPECT_THAT(added_to_damaged(index), HasSubstr("is not an index of traces")) << size;
  }
  write_file_atomically(index, good);
  {
    const Handle file(H5Fopen(index.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    set_attribute(file, index, "note", std::string("of a user"));
  }
  EXPECT_THAT(added_to_damaged(index), HasSubstr("it is damaged, or holds more"));
}

TEST(TraceIndex, LeavesAFileOfAnotherKindAlone) {
  const test::TempDir dir;
  write_file_atomically(dir / "notes.txt", "mine");
  EXPECT_THROW(add_to_index(dir / "notes.txt", dir / "a.h5"), Error);
  EXPECT_EQ(read_text_file(dir / "notes.txt", 100), "mine");
  write_trace(dir / "data.h5");
  try {
    add_to_index(dir / "data.h5", dir / "a.h5");
    FAIL() << "a trace was taken for an index";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("data.h5 is not an index of traces"));
  }
  EXPECT_EQ(count_links(dir / "data.h5"), 11);
}

}  // namespace
}  // namespace wan::trace
