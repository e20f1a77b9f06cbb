// wan::Session on the toy checkpoint, as another program uses it: all but one check by the public headers.
#include "wan/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "session/request_check.h"
#include "support/temp_dir.h"

namespace wan {
namespace {

using testing::HasSubstr;

const std::filesystem::path toy = std::filesystem::path(WAN_TEST_DATA) / "../../inputs/toy";

int rank_in(MPI_Comm comm) {
  int rank = 0;
  MPI_Comm_rank(comm, &rank);
  return rank;
}

int world_size() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

SessionOptions toy_options() {
  SessionOptions options;
  options.checkpoint = toy / "checkpoint";
  options.device = SessionOptions::Device::cpu;
  return options;
}

Request small_request(const Session& session) {
  Request request = session.make_request("A white cat on a surfboard.", toy / "images/cat_on_beach.png");
  request.size = {.width = 96, .height = 64};
  request.frame_num = 5;
  request.sample_steps = 3;
  request.seed = 7;
  return request;
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Rank 0's scratch folder; the others' are not used.
class SessionTest : public testing::Test {
 protected:
  bool leads() const { return rank_in(MPI_COMM_WORLD) == 0; }
  std::ptrdiff_t files() const {
    return std::distance(std::filesystem::directory_iterator(folder_.path()), {});
  }
  /// The video's bytes on rank 0.
  std::string make(Session& session, const Request& request) {
    const RequestReport report = session.run(request, {.video = folder_ / "video.mp4"});
    EXPECT_EQ(report.end, RunEnd::finished);
    return leads() ? bytes_of(folder_ / "video.mp4") : "";
  }

  test::TempDir folder_;
};

TEST_F(SessionTest, RequestsHaveTheDefaultsOfTheCheckpointsTask) {
  const Session session = Session::open(toy_options(), MPI_COMM_WORLD);
  EXPECT_EQ(session.task().name, "i2v-A14B");
  const Request request = session.make_request("A cat.", "cat.png");
  EXPECT_EQ(request.prompt, "A cat.");
  EXPECT_EQ(request.image, "cat.png");
  EXPECT_EQ(request.sample_steps, 40);
  EXPECT_EQ(request.size, (PixelSize{.width = 1280, .height = 720}));
  EXPECT_EQ(request.negative_prompt, default_negative_prompt());
  std::uint64_t seed = request.seed;
  MPI_Bcast(&seed, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
  EXPECT_EQ(seed, request.seed) << "every rank has the same";
}

TEST_F(SessionTest, TwoInTurnMakeTheSameVideo) {
  std::array<std::string, 2> videos;
  for (std::string& video : videos) {
    Session session = Session::open(toy_options(), MPI_COMM_WORLD);
    video = make(session, small_request(session));
    EXPECT_EQ(files(), leads() ? 1 : 0) << "nothing else is left";
  }
  EXPECT_EQ(videos[0], videos[1]);
  if (leads()) {
    EXPECT_GT(videos[0].size(), 1000U);
  }
}

TEST_F(SessionTest, LatentsAreWrittenWhereAskedFor) {
  Session session = Session::open(toy_options(), MPI_COMM_WORLD);
  session.run(small_request(session),
              {.video = folder_ / "video.mp4", .latents = folder_ / "latents.safetensors"});
  EXPECT_EQ(files(), leads() ? 2 : 0);
  EXPECT_EQ(std::filesystem::exists(folder_ / "latents.safetensors"), leads());
}

TEST_F(SessionTest, AMissingCheckpointIsAnExceptionOnEveryRank) {
  SessionOptions options = toy_options();
  options.checkpoint = toy / "no_such_folder";
  try {
    Session::open(options, MPI_COMM_WORLD);
    ADD_FAILURE() << "opened";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("no_such_folder"));
  }
  const Session next = Session::open(toy_options(), MPI_COMM_WORLD);
}

TEST_F(SessionTest, WrongOptionsAreAnExceptionOnEveryRank) {
  SessionOptions options = toy_options();
  options.attention = "sorcery";
  EXPECT_THROW(Session::open(options, MPI_COMM_WORLD), UsageError);
  options = toy_options();
  options.cfg_size = 3;
  EXPECT_THROW(Session::open(options, MPI_COMM_WORLD), UsageError);
}

TEST_F(SessionTest, DifferentOptionsAreRefusedOnEveryRank) {
  if (world_size() == 1) GTEST_SKIP() << "needs two ranks";
  SessionOptions options = toy_options();
  if (rank_in(MPI_COMM_WORLD) == 1) options.cfg_size = 1;
  EXPECT_THROW(Session::open(options, MPI_COMM_WORLD), UsageError);
}

TEST_F(SessionTest, ARequestThatFailsLeavesTheSessionUsable) {
  Session session = Session::open(toy_options(), MPI_COMM_WORLD);
  const Request good = small_request(session);
  const std::string video = make(session, good);
  std::filesystem::remove(folder_ / "video.mp4");

  Request bad = good;
  bad.image = folder_ / "missing.png";
  EXPECT_THROW(make(session, bad), ItemError);
  bad = good;
  bad.frame_num = 6;
  EXPECT_THROW(make(session, bad), ItemError);
  EXPECT_THROW(session.validate(bad), ItemError);
  bad = good;
  bad.codec = "sorcery";
  EXPECT_THROW(make(session, bad), ItemError);
  bad = good;
  bad.noise_device = NoiseDevice::cuda;
  EXPECT_THROW(make(session, bad), ItemError);
  bad = good;
  bad.lora_set = 1;
  EXPECT_THROW(make(session, bad), ItemError);
  EXPECT_THROW(session.run(good, {.video = folder_ / "no_such_folder/video.mp4"}), ItemError);
  EXPECT_THROW(session.run(good, {.video = folder_ / "one.mp4", .latents = folder_ / "./one.mp4"}),
               ItemError);
  EXPECT_EQ(files(), 0) << "nothing half made is left";

  session.validate(good);
  EXPECT_EQ(make(session, good), video);
}

TEST_F(SessionTest, AnImageForATextModelIsRefusedAndNotPassedOver) {
  const Session session = Session::open(toy_options(), MPI_COMM_WORLD);
  const Request request = small_request(session);
  EXPECT_NO_THROW(session::check_values(request, TaskKind::i2v, /*on_gpu=*/false));
  try {
    session::check_values(request, TaskKind::t2v, /*on_gpu=*/false);
    ADD_FAILURE() << "accepted";
  } catch (const ItemError& error) {
    EXPECT_THAT(error.what(), HasSubstr("image: the checkpoint makes videos from text alone"));
  }
}

TEST_F(SessionTest, DifferentRequestsAreRefusedOnEveryRank) {
  if (world_size() == 1) GTEST_SKIP() << "needs two ranks";
  Session session = Session::open(toy_options(), MPI_COMM_WORLD);
  Request request = small_request(session);
  request.seed = static_cast<std::uint64_t>(rank_in(MPI_COMM_WORLD));
  try {
    make(session, request);
    ADD_FAILURE() << "made";
  } catch (const ItemError& error) {
    EXPECT_THAT(error.what(), HasSubstr("rank 1 has another request"));
  }
}

TEST_F(SessionTest, OneRankMayStopARequestAndNothingIsLeftOfIt) {
  Session session = Session::open(toy_options(), MPI_COMM_WORLD);
  const bool is_last = rank_in(MPI_COMM_WORLD) == world_size() - 1;
  const RequestReport report =
      session.run(small_request(session), {.video = folder_ / "video.mp4"}, nullptr,
                  [&](int steps_done, int /*step_count*/) { return is_last && steps_done == 2; });
  EXPECT_EQ(report.end, RunEnd::stopped);
  EXPECT_EQ(report.steps_done, 2);
  EXPECT_EQ(files(), 0);
  make(session, small_request(session));
}

/// Counts events, and throws at a step.
class Listener final : public Observer {
 public:
  explicit Listener(std::optional<int> bad_step = std::nullopt) : bad_step_(bad_step) {}
  void on_phase(const PhaseEvent& event) override { phases.push_back(event.phase); }
  void on_step(const StepEvent& event) override {
    ++steps;
    if (bad_step_ == event.step) throw std::out_of_range("the observer's own trouble");
  }
  std::vector<std::string> phases;
  int steps = 0;

 private:
  std::optional<int> bad_step_;
};

TEST_F(SessionTest, TheObserverHearsPhasesAndTheStepsOfAllRanksOnRank0) {
  Session session = Session::open(toy_options(), MPI_COMM_WORLD);
  Listener listener;
  session.run(small_request(session), {.video = folder_ / "video.mp4"}, &listener);
  EXPECT_EQ(listener.steps, leads() ? 3 * world_size() : 0);
  if (leads()) {
    EXPECT_THAT(listener.phases,
                testing::ElementsAre("image", "text", "encode", "denoise", "decode", "write"));
  }
}

TEST_F(SessionTest, AnExceptionOfTheCallersEndsTheRequestInOrder) {
  Session session = Session::open(toy_options(), MPI_COMM_WORLD);
  Listener listener(1);
  const auto run = [&] { session.run(small_request(session), {.video = folder_ / "video.mp4"}, &listener); };
  if (leads()) {
    EXPECT_THROW(run(), std::out_of_range);
  } else {
    EXPECT_THROW(run(), ItemError);
  }
  EXPECT_EQ(files(), 0);
  make(session, small_request(session));
}

TEST_F(SessionTest, AnExceptionOfTheStopFunctionDoesSoToo) {
  Session session = Session::open(toy_options(), MPI_COMM_WORLD);
  const bool is_last = rank_in(MPI_COMM_WORLD) == world_size() - 1;
  const auto run = [&] {
    session.run(small_request(session), {.video = folder_ / "video.mp4"}, nullptr,
                [&](int steps_done, int /*step_count*/) {
                  if (is_last && steps_done == 1) throw std::out_of_range("the caller's own trouble");
                  return false;
                });
  };
  if (is_last) {
    EXPECT_THROW(run(), std::out_of_range);
  } else {
    EXPECT_THROW(run(), ItemError);
  }
  EXPECT_EQ(files(), 0);
}

TEST_F(SessionTest, AfterACollectiveThatTimedOutTheNextSessionWorks) {
  if (world_size() == 1) GTEST_SKIP() << "needs two ranks";
  {
    SessionOptions options = toy_options();
    options.collective_timeout_s = 1e-6;
    Session session = Session::open(options, MPI_COMM_WORLD);
    const Request request = small_request(session);
    const auto message = [&] {
      try {
        session.run(request, {.video = folder_ / "video.mp4"});
      } catch (const ItemError& error) {
        return std::string("no ItemError: ") + error.what();
      } catch (const Error& error) {
        return std::string(error.what());
      }
      return std::string("no error");
    };
    EXPECT_THAT(message(), HasSubstr("timed out"));
    EXPECT_THAT(message(), HasSubstr("can make no more requests"));
  }
  Session session = Session::open(toy_options(), MPI_COMM_WORLD);
  make(session, small_request(session));
}

TEST_F(SessionTest, APartOfTheRanksMayHaveASessionOfItsOwn) {
  MPI_Comm half = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, rank_in(MPI_COMM_WORLD) % 2, 0, &half);
  if (rank_in(MPI_COMM_WORLD) % 2 == 0) {
    Session session = Session::open(toy_options(), half);
    const RequestReport report = session.run(small_request(session), {.video = folder_ / "video.mp4"});
    EXPECT_EQ(report.end, RunEnd::finished);
    EXPECT_EQ(files(), rank_in(half) == 0 ? 1 : 0);
  }
  MPI_Comm_free(&half);
  EXPECT_THROW(Session::open(toy_options(), MPI_COMM_NULL), Error);
}

}  // namespace
}  // namespace wan
