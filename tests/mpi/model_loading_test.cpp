#include "engine/model_loading.h"

#include <gtest/gtest.h>

#include <numeric>

#include "checkpoint/checkpoint.h"
#include "mpi/engine_fixture.h"

namespace wan {
namespace {

std::uint64_t tensor_bytes(const checkpoint::Checkpoint& files) {
  std::uint64_t bytes = 0;
  for (const auto& [name, entry] : files.entries())
    bytes += static_cast<std::uint64_t>(entry.elements()) * checkpoint::size_bytes(entry.dtype);
  return bytes;
}

/// Bytes of all weights; the text encoder's table of embeddings is read row by row, when a text comes.
std::uint64_t weight_bytes(const checkpoint::CheckpointFolder& folder) {
  const auto text = checkpoint::Checkpoint::open_torch_archive(folder.text_encoder);
  const checkpoint::TensorEntry& table = text.entry("token_embedding.weight");
  std::uint64_t bytes =
      tensor_bytes(text) - static_cast<std::uint64_t>(table.elements()) * checkpoint::size_bytes(table.dtype);
  bytes += tensor_bytes(checkpoint::Checkpoint::open_torch_archive(folder.vae));
  for (const checkpoint::ExpertFolder& expert : folder.experts)
    bytes += tensor_bytes(checkpoint::Checkpoint::open_safetensors_folder(expert.path));
  return bytes;
}

void expect_same(const parallel::WeightShards& shards, const parallel::WeightShards& alone) {
  for (int unit = 0; unit < static_cast<int>(shards.units().size()); ++unit)
    EXPECT_TRUE(at::equal(shards.slice(unit), alone.slice(unit)))
        << shards.units()[static_cast<std::size_t>(unit)].name;
}

class ModelLoading : public testing::Test {
 protected:
  engine::LoadingPlace place(int group_size) const {
    engine::LoadingPlace place{.group_rank = ranks_.rank() % group_size,
                               .group_size = group_size,
                               .world_rank = ranks_.rank(),
                               .node = std::vector<int>(static_cast<std::size_t>(ranks_.size()))};
    std::iota(place.node.begin(), place.node.end(), 0);
    return place;
  }
  parallel::NodeRanks node() {
    return {.host = comm::make_mpi_group(ranks_.world(), place(1).node, "node", {.timeout_s = 60}),
            .gpu = nullptr};
  }

  test::RankWorld ranks_;
};

TEST_F(ModelLoading, ReadsEachByteOncePerNodeAndGivesEveryRankTheBitsThatItWouldRead) {
  const test::Toy toy("i2v_landscape");
  const std::uint64_t all_bytes = weight_bytes(toy.folder);
  const parallel::NodeRanks node = this->node();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (int group_size = 1; group_size <= ranks_.size(); group_size *= 2) {
      if (ranks_.size() % group_size != 0) continue;
      for (const bool is_sharded : {false, true}) {
        SCOPED_TRACE(fmt::format("{}, groups of {}, {}", c10::toString(type), group_size,
                                 is_sharded ? "sharded" : "whole"));
        engine::EngineOptions options;
        options.compute.type = type;
        if (is_sharded) options.placement = test::all_sharded;
        engine::LoadingPlace own = place(group_size);
        engine::ModelLoading loading(toy.folder, options, own);
        ASSERT_TRUE(loading.finish(&node));
        auto bytes = static_cast<std::int64_t>(loading.bytes_read());
        ranks_.world().all_reduce(std::span(&bytes, 1), comm::ReduceOp::sum).wait();
        EXPECT_EQ(static_cast<std::uint64_t>(bytes), all_bytes);

        own.node.clear();
        engine::ModelLoading alone(toy.folder, options, own);
        ASSERT_TRUE(alone.finish(nullptr));
        const auto experts = loading.take_experts();
        const auto expected = alone.take_experts();
        for (std::size_t i = 0; i < experts.size(); ++i) expect_same(*experts[i].shards, *expected[i].shards);
        expect_same(*loading.take_text_shards(), *alone.take_text_shards());
        const std::string name = "decoder.conv1.weight";
        EXPECT_TRUE(at::equal(loading.vae().read(name), alone.vae().read(name)));
      }
    }
  }
}

TEST_F(ModelLoading, MakesAnEngineThatGivesTheSameVideo) {
  const test::Toy toy("i2v_landscape", 2);
  const comm::GridShape shape = test::shapes_of(ranks_.size(), toy.heads).front();
  const engine::EngineOptions options{.placement = test::all_sharded};
  auto loading = std::make_unique<engine::ModelLoading>(toy.folder, options, place(ranks_.size()));
  const parallel::NodeRanks node = this->node();
  ASSERT_TRUE(loading->finish(&node));
  const Stopwatch clock;
  const auto communicators = [&] { return ranks_.communicators(shape, test::Backend::mpi, toy.heads); };
  engine::WanEngine together(toy.folder, options, communicators(), clock, std::move(loading));
  engine::WanEngine alone(toy.folder, options, communicators(), clock);
  const test::Made made = test::make(together, toy.request());
  const test::Made expected = test::make(alone, toy.request());
  if (ranks_.rank() != 0) return;
  EXPECT_TRUE(at::equal(made.latent, expected.latent));
  EXPECT_TRUE(at::equal(made.frames, expected.frames));
}

}  // namespace
}  // namespace wan
