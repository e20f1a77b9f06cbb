#include "parallel/weight_loading.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "comm/mpi/environment.h"
#include "comm/mpi/mpi.h"
#include "core/check.h"

namespace wan::parallel {
namespace {

constexpr double timeout_s = 20;

/// Units whose sizes divide by no number of ranks; one is smaller than the ranks are many.
std::vector<checkpoint::UnitLayout> units() {
  return {{"a", {{"a.weight", {61, 53}, 0}, {"a.bias", {7}, 3233}}},
          {"b", {{"b.weight", {1, 3}, 0}}},
          {"c", {{"c.weight", {300, 7}, 0}}}};
}

std::int64_t all_elements() {
  std::int64_t elements = 0;
  for (const checkpoint::UnitLayout& unit : units()) elements += unit.elements();
  return elements;
}

/// Stands for files: element i of a parameter has a value of its own.
ParameterReader file_reader(std::atomic<std::int64_t>& elements_read,
                            const std::function<void(const checkpoint::Parameter&)>& before = {}) {
  return ParameterReader::of_files([&elements_read, before](const checkpoint::Parameter& parameter,
                                                            std::int64_t first, const at::Tensor& out) {
    if (before) before(parameter);
    const double base = 10000.0 * parameter.name.front();
    out.copy_(at::arange(first, first + out.numel(), at::kDouble) + base);
    elements_read += out.numel();
  });
}

/// The ranks of this program as the ranks of one node.
class Node {
 public:
  explicit Node(double limit_s = timeout_s) {
    world_ = comm::make_mpi_world(mpi_, {.timeout_s = timeout_s});
    for (int rank = 0; rank < mpi_.size(); ++rank) world_ranks_.push_back(rank);
    ranks_.host = comm::make_mpi_group(*world_, world_ranks_, "node", {.timeout_s = limit_s});
  }
  int rank() const { return mpi_.rank(); }
  int size() const { return mpi_.size(); }
  const NodeRanks& ranks() const { return ranks_; }
  WeightShare share(int group_size, bool is_sharded) const {
    return share_on_node(world_ranks_, rank(), group_size, is_sharded);
  }
  std::int64_t sum(std::int64_t value) const {
    world_->all_reduce(std::span(&value, 1), comm::ReduceOp::sum).wait();
    return value;
  }

 private:
  comm::MpiEnvironment mpi_;
  std::unique_ptr<comm::Communicator> world_;
  std::vector<int> world_ranks_;
  NodeRanks ranks_;
};

TEST(WeightLoading, ANodeReadsEachElementOnceAndEveryRankGetsItsOwn) {
  const Node node;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (int group_size = 1; group_size <= node.size(); group_size *= 2) {
      if (node.size() % group_size != 0) continue;
      for (const bool is_sharded : {false, true}) {
        SCOPED_TRACE(fmt::format("groups of {}, {}", group_size, is_sharded ? "sharded" : "whole"));
        const kernels::Compute compute{.device = at::kCPU, .type = type};
        std::atomic<std::int64_t> read{0};
        WeightShards shards(units(), node.share(group_size, is_sharded), compute);
        WeightLoading loading({{.shards = &shards, .read = file_reader(read)}});
        EXPECT_TRUE(loading.finish(&node.ranks()));
        EXPECT_EQ(node.sum(read), all_elements()) << "elements that all ranks read together";

        const WeightShare& share = shards.share();
        const WeightShards alone(units(), file_reader(read), share.parts, share.part, compute);
        for (int unit = 0; unit < static_cast<int>(units().size()); ++unit)
          EXPECT_TRUE(at::equal(shards.slice(unit), alone.slice(unit))) << "unit " << unit;
      }
    }
  }
}

TEST(WeightLoading, SeveralModelsComeInOneAfterTheOther) {
  const Node node;
  std::atomic<std::int64_t> read{0};
  WeightShards first(units(), node.share(node.size(), true), {});
  WeightShards second(units(), node.share(node.size(), false), {});
  // The second one's values are made, not read, as those of models of random numbers.
  const ParameterReader make = [](const checkpoint::Parameter& /*parameter*/, std::int64_t /*first*/,
                                  const at::Tensor& out) { out.fill_(3); };
  WeightLoading loading({{.shards = &first, .read = file_reader(read)}, {.shards = &second, .read = make}});
  EXPECT_TRUE(loading.finish(&node.ranks()));
  EXPECT_EQ(node.sum(read), all_elements());
  EXPECT_EQ(second.slice(0).eq(3).sum().item<std::int64_t>(), units().front().elements());
}

TEST(WeightLoading, AnErrorIsThrownWhereItHappenedAndNobodyWaits) {
  const Node node;
  const int bad = node.size() - 1;
  for (const bool is_sharded : {false, true}) {
    std::atomic<std::int64_t> read{0};
    WeightShards shards(units(), node.share(node.size(), is_sharded), {});
    WeightLoading loading({{.shards = &shards, .read = file_reader(read, [&](const auto& parameter) {
                                                 if (node.rank() == bad && parameter.name == "a.weight")
                                                   fail("cannot read tensor {}", parameter.name);
                                               })}});
    if (node.rank() == bad) {
      try {
        loading.finish(&node.ranks());
        ADD_FAILURE() << "no error";
      } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "cannot read tensor a.weight");
      }
    } else {
      EXPECT_FALSE(loading.finish(&node.ranks()));
    }
    EXPECT_EQ(node.sum(1), node.size()) << "the ranks are still together";
  }
}

TEST(WeightLoading, ReadingMayTakeLongerThanACollective) {
  constexpr double limit_s = 1;  // the passing on of a piece must take less, also on a busy machine
  const Node node(limit_s);
  std::atomic<std::int64_t> read{0};
  WeightShards shards(units(), node.share(1, false), {});
  WeightLoading loading({{.shards = &shards, .read = file_reader(read, [&](const auto& parameter) {
                                               if (node.rank() == 0 && parameter.name == "c.weight") {
                                                 std::this_thread::sleep_for(
                                                     std::chrono::duration<double>(1.4 * limit_s));
                                               }
                                             })}});
  EXPECT_TRUE(loading.finish(&node.ranks()));
  EXPECT_EQ(node.sum(read), all_elements());
}

TEST(WeightLoading, ALoadingThatNobodyFinishesEnds) {
  std::atomic<std::int64_t> read{0};
  WeightShards shards(units(), WeightShare(), {});
  { const WeightLoading loading({{.shards = &shards, .read = file_reader(read)}}); }
  EXPECT_LE(read, all_elements());
}

TEST(WeightShare, ListsTheRanksOfTheNodeThatHoldTheSamePart) {
  // Two nodes in turn: this one has the even ranks. Groups of four.
  const std::vector<int> node{0, 2, 4, 6};
  const WeightShare sharded = share_on_node(node, 6, 4, /*is_sharded=*/true);
  EXPECT_EQ(sharded.parts, 4);
  EXPECT_EQ(sharded.part, 2);
  EXPECT_EQ(sharded.readers, (std::vector<int>{1, 3}));
  EXPECT_EQ(sharded.reader, 1);
  const WeightShare whole = share_on_node(node, 4, 4, /*is_sharded=*/false);
  EXPECT_EQ(whole.parts, 1);
  EXPECT_EQ(whole.readers, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(whole.reader, 2);
}

}  // namespace
}  // namespace wan::parallel
