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

using testing::Each;
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

std::vector<std::string> read_texts(const std::filesystem::path& path, const char* name) {
  const Handle file = open_file(path);
  const Handle column(checked(H5Dopen2(file.get(), name, H5P_DEFAULT), name, path), H5Dclose);
  const Handle space(H5Dget_space(column.get()), H5Sclose);
  std::vector<char*> read(static_cast<std::size_t>(H5Sget_simple_extent_npoints(space.get())));
  const Handle type = utf8_string_type(path);
  checked(H5Dread(column.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, static_cast<void*>(read.data())),
          name, path);
  std::vector<std::string> texts(read.begin(), read.end());
  H5Dvlen_reclaim(type.get(), space.get(), H5P_DEFAULT, static_cast<void*>(read.data()));
  return texts;
}

TEST(TraceWriter, RowsReferToTheirItems) {
  const test::TempDir dir;
  {
    TraceWriter writer(dir / "t.h5", {});
    const PhaseRecord load{.event = test::sample_phase("load", 2)};
    writer.add_phases(std::span(&load, 1));
    EXPECT_EQ(writer.begin_item(test::sample_item("a")), 0);
    EXPECT_EQ(writer.begin_stretch({.item = 0, .event = test::sample_stretch()}), 0);
    writer.add_steps(test::sample_steps(0));
    EXPECT_EQ(writer.begin_item(test::sample_item("b")), 1);
    writer.add_steps(test::sample_steps(5, 1));
    const PhaseRecord decode{.item = 1, .event = test::sample_phase("decode", 4)};
    writer.add_phases(std::span(&decode, 1));
    writer.end_item({.item = 1, .time_s = 24, .outcome = "done", .steps_done = 10});
    writer.add_steps({});
  }
  EXPECT_THAT(read_column(dir / "t.h5", "steps/item"), ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(read_column(dir / "t.h5", "steps/stretch"), ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(read_column(dir / "t.h5", "steps/warm_up"), ElementsAre(1, 1, 0, 0));
  EXPECT_THAT(read_column(dir / "t.h5", "steps/step"), ElementsAre(0, 0, 5, 5));
  EXPECT_THAT(read_column(dir / "t.h5", "steps/wall_wait_s"), ElementsAre(6, 6, 8.5, 8.5));
  EXPECT_THAT(read_column(dir / "t.h5", "phases/item"), ElementsAre(-1, 1));
  EXPECT_THAT(read_column(dir / "t.h5", "phases/wall_s"), ElementsAre(2, 4));
  EXPECT_THAT(read_column(dir / "t.h5", "phases/world_rank"), ElementsAre(4, 4));
  EXPECT_THAT(read_column(dir / "t.h5", "items/width"), ElementsAre(832, 832));
  EXPECT_THAT(read_texts(dir / "t.h5", "item_ends/outcome"), ElementsAre("done"));
}

TEST(TraceWriter, AStretchSaysWhatComputedItsSteps) {
  const test::TempDir dir;
  TraceWriter(dir / "t.h5", {}).begin_stretch({.item = 2, .event = test::sample_stretch()});
  for (const auto& [column, value] : std::map<std::string, double>{{"item", 2},
                                                                   {"first_step", 3},
                                                                   {"team_width", 2},
                                                                   {"passes", 2},
                                                                   {"shift", 5.5},
                                                                   {"head_chunks", 3},
                                                                   {"start_s", 12.25}}) {
    EXPECT_THAT(read_column(dir / "t.h5", ("stretches/" + column).c_str()), ElementsAre(value)) << column;
  }
  for (const auto& [column, text] :
       std::map<std::string, std::string>{{"ranks", "4,5,6,7"},
                                          {"layout", "cfg2 x ulysses2"},
                                          {"placement", "sharded over 2, offloaded"},
                                          {"precision", "bf16"},
                                          {"guidance", "3.5:4"},
                                          {"solver", "unipc"},
                                          {"attention", "cudnn"}}) {
    EXPECT_THAT(read_texts(dir / "t.h5", ("stretches/" + column).c_str()), ElementsAre(text)) << column;
  }
}

TEST(TraceWriter, SamplesKeepUnknownValues) {
  const test::TempDir dir;
  const std::vector<DeviceSample> samples{
      {.time_s = 0.5, .rank = 3, .vram_used_bytes = 1LL << 36U, .power_w = 301.5, .sm_clock_mhz = 1980},
      {.time_s = 0.7, .rank = 3, .throttle_reasons = 0x20}};
  TraceWriter(dir / "t.h5", {}).add_samples(samples);
  EXPECT_THAT(read_column(dir / "t.h5", "samples/vram_used_bytes"), ElementsAre(68719476736.0, -1));
  EXPECT_THAT(read_column(dir / "t.h5", "samples/throttle_reasons"), ElementsAre(-1, 32));
  EXPECT_THAT(read_column(dir / "t.h5", "samples/power_w"), ElementsAre(301.5, testing::IsNan()));
  EXPECT_THAT(read_column(dir / "t.h5", "samples/sm_clock_mhz"), ElementsAre(1980, testing::IsNan()));
  EXPECT_THAT(read_column(dir / "t.h5", "samples/temperature_c"), Each(testing::IsNan()));
}

TEST(TraceWriter, DropsRowsThatHaveNoRoomAndCountsThem) {
  const test::TempDir dir;
  const Stopwatch clock;
  TraceWriter writer(dir / "t.h5", {}, {.most_rows = 3, .clock = &clock});
  writer.add_steps(test::sample_steps(0));
  writer.add_steps(test::sample_steps(1));  // 4 rows
  writer.add_steps(test::sample_steps(2));
  EXPECT_EQ(writer.begin_item(test::sample_item("a")), 0);
  EXPECT_EQ(writer.begin_item(test::sample_item("b")), -1);
  EXPECT_EQ(writer.dropped_rows(), 5);
  writer.close();
  EXPECT_THAT(read_column(dir / "t.h5", "steps/step"), ElementsAre(0, 0));
  EXPECT_THAT(read_texts(dir / "t.h5", "items/id"), ElementsAre("a"));
  EXPECT_THAT(read_texts(dir / "t.h5", "drops/table"), ElementsAre("steps", "items"));
  EXPECT_THAT(read_column(dir / "t.h5", "drops/rows"), ElementsAre(4, 1));
  EXPECT_THAT(read_column(dir / "t.h5", "drops/time_s"), Each(testing::Gt(0)));
}

TEST(TraceWriter, AttributesOfTheEndComeWithTheRows) {
  const test::TempDir dir;
  {
    TraceWriter writer(dir / "t.h5", {{"run", std::string("r")}});
    writer.add_attributes({{"exit_reason", std::string("done")}});
    writer.close();
    writer.add_steps(test::sample_steps(0));  // comes too late
  }
  const Handle file = open_file(dir / "t.h5");
  EXPECT_GT(H5Aexists(file.get(), "run"), 0);
  EXPECT_GT(H5Aexists(file.get(), "exit_reason"), 0);
  EXPECT_THAT(read_column(dir / "t.h5", "steps/step"), ElementsAre());
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
  {
    TraceWriter writer(dir / "t.h5", {});
    writer.begin_item(test::sample_item("a"));
    for (int step = 0; step < 40; ++step) writer.add_steps(test::sample_steps(step));
  }
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
    writer.close();
    if (writer.problem()) std::rethrow_exception(writer.problem());
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
    EXPECT_EQ(read_column(file, "samples/sm_clock_mhz").size(), 1U);
  }
}

}  // namespace
}  // namespace wan::trace
