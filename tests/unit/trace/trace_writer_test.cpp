#include "trace/trace_writer.h"

#include <gmock/gmock.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>

#include "support/temp_dir.h"
#include "support/trace_sample.h"
#include "trace/hdf5.h"

namespace wan::trace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<double> read_column(const std::filesystem::path& path, const char* name) {
  const Handle file = open_file(path);
  const Handle column(checked(H5Dopen2(file.get(), name, H5P_DEFAULT), name, path), H5Dclose);
  const Handle space(H5Dget_space(column.get()), H5Sclose);
  std::vector<double> values(static_cast<std::size_t>(H5Sget_simple_extent_npoints(space.get())));
  checked(H5Dread(column.get(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), name, path);
  return values;
}

TEST(TraceWriter, RowsBelongToTheItemBegunLast) {
  const test::TempDir dir;
  {
    TraceWriter writer(dir / "t.h5", {});
    writer.add_phase({.phase = "load", .start_s = 0, .wall_s = 2, .sent_bytes = 9});
    writer.begin_item(test::sample_item("a"));
    writer.add_steps(test::sample_steps(0));
    writer.begin_item(test::sample_item("b"));
    writer.add_steps(test::sample_steps(5));
    writer.add_phase({.phase = "decode", .start_s = 20, .wall_s = 4, .sent_bytes = 0});
    writer.add_steps({});
  }
  EXPECT_THAT(read_column(dir / "t.h5", "steps/item"), ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(read_column(dir / "t.h5", "steps/step"), ElementsAre(0, 0, 5, 5));
  EXPECT_THAT(read_column(dir / "t.h5", "steps/wall_wait_s"), ElementsAre(6, 6, 8.5, 8.5));
  EXPECT_THAT(read_column(dir / "t.h5", "phases/item"), ElementsAre(-1, 1));
  EXPECT_THAT(read_column(dir / "t.h5", "phases/wall_s"), ElementsAre(2, 4));
  EXPECT_THAT(read_column(dir / "t.h5", "items/width"), ElementsAre(832, 832));
}

TEST(TraceWriter, SamplesKeepUnknownValuesAsNaN) {
  const test::TempDir dir;
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  const std::vector<DeviceSample> samples{
      {.time_s = 0.5, .rank = 3, .vram_used_bytes = 1ULL << 36U, .power_w = 301.5, .temperature_c = unknown}};
  TraceWriter(dir / "t.h5", {}).add_samples(samples);
  EXPECT_THAT(read_column(dir / "t.h5", "samples/vram_used_bytes"), ElementsAre(68719476736.0));
  EXPECT_THAT(read_column(dir / "t.h5", "samples/power_w"), ElementsAre(301.5));
  EXPECT_TRUE(std::isnan(read_column(dir / "t.h5", "samples/temperature_c").at(0)));
}

TEST(TraceWriter, TakesAttributesOfEachKind) {
  const test::TempDir dir;
  const RunAttributes attributes{{"layout", std::string("cfg2")},
                                 {"slurm_job_id", std::int64_t{1} << 40U},
                                 {"start", 0.25},
                                 {"empty", std::string()}};
  const TraceWriter writer(dir / "t.h5", attributes);
  const Handle file = open_file(dir / "t.h5");
  for (const auto& [name, value] : attributes) EXPECT_GT(H5Aexists(file.get(), name.c_str()), 0) << name;
  std::int64_t job = 0;
  const Handle attribute(H5Aopen(file.get(), "slurm_job_id", H5P_DEFAULT), H5Aclose);
  ASSERT_GE(H5Aread(attribute.get(), H5T_NATIVE_INT64, &job), 0);
  EXPECT_EQ(job, std::int64_t{1} << 40U);
}

TEST(TraceWriter, ASmallRunMakesASmallFile) {
  const test::TempDir dir;
  TraceWriter writer(dir / "t.h5", {});
  writer.begin_item(test::sample_item("a"));
  for (int step = 0; step < 40; ++step) writer.add_steps(test::sample_steps(step));
  EXPECT_LT(std::filesystem::file_size(dir / "t.h5"), 256U << 10U);
}

TEST(TraceWriter, SaysWhyAFileCannotBeMade) {
  const test::TempDir dir;
  try {
    const TraceWriter writer(dir / "none" / "t.h5", {});
    FAIL() << "a file in a folder that is not there";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr((dir / "none" / "t.h5").string()));
    EXPECT_THAT(error.what(), HasSubstr("No such file or directory"));
  }
}

[[noreturn]] void write_beyond(rlim_t bytes, const std::filesystem::path& path) {
  // Imitates a full disk by a limit on the file's size.
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{.rlim_cur = bytes, .rlim_max = bytes};
  if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) std::exit(2);
  try {
    TraceWriter writer(path, {});
    for (int step = 0; step < 10000; ++step) writer.add_steps(test::sample_steps(step));
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    std::exit(0);
  }
  std::exit(1);
}

TEST(TraceWriterDeathTest, AFullDiskIsAnErrorNotACrash) {
  const test::TempDir dir;
  for (const rlim_t bytes : {1000U, 20000U, 130000U, 300000U}) {
    EXPECT_EXIT(write_beyond(bytes, dir / fmt::format("{}.h5", bytes)), testing::ExitedWithCode(0),
                "\\.h5: .*File too large");
  }
}

TEST(TraceWriter, AKilledRunLeavesAReadableFile) {
  const test::TempDir dir;
  for (const int steps : {0, 1, 7, 130}) {
    const std::string file = (dir / fmt::format("{}.h5", steps)).string();
    std::string program = WAN_WRITE_AND_DIE;
    std::string path = file;
    std::string count = std::to_string(steps);
    std::array<char*, 4> arguments{program.data(), path.data(), count.data(), nullptr};
    pid_t child = 0;
    ASSERT_EQ(posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments.data(), environ), 0);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    const std::vector<double> read = read_column(file, "steps/step");
    ASSERT_EQ(read.size(), 2U * static_cast<unsigned>(steps));
    for (int row = 0; row < 2 * steps; ++row) {
      const int step = row / 2;  // two ranks
      EXPECT_EQ(read[static_cast<std::size_t>(row)], step);
    }
    EXPECT_EQ(read_column(file, "steps/vram_peak_bytes").size(), read.size());
    EXPECT_THAT(read_column(file, "items/frames"), ElementsAre(81));
  }
}

}  // namespace
}  // namespace wan::trace
