// --precision fp16 through the whole engine, here on the CPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "mpi/engine_fixture.h"
#include "support/message_of.h"

namespace wan {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class Fp16 : public testing::Test {
 protected:
  engine::WanEngine engine_of(const checkpoint::CheckpointFolder& folder, const comm::GridShape& shape,
                              std::int64_t heads) {
    return {folder,
            {.placement = test::all_sharded, .compute = {.device = at::kCPU, .type = at::kHalf}},
            ranks_.communicators(shape, test::Backend::mpi, heads),
            clock_};
  }

  /// The case's checkpoint with one tensor of the transformer filled with `value`. Collective.
  checkpoint::CheckpointFolder with_tensor(const test::SharedFolder& folder, const test::Toy& toy,
                                           std::string_view tensor, float value) {
    const std::filesystem::path copy = folder / "ckpt";
    const char* const file_name = "diffusion_pytorch_model.safetensors";
    if (ranks_.rank() == 0) {
      std::filesystem::create_directory(copy);
      for (const auto& entry : std::filesystem::directory_iterator(toy.folder.root))
        if (entry.path().filename() != file_name)
          std::filesystem::create_symlink(std::filesystem::canonical(entry), copy / entry.path().filename());
      std::filesystem::copy_file(toy.folder.root / file_name, copy / file_name);
      const auto weights = checkpoint::Checkpoint::open_safetensors_file(copy / file_name);
      const checkpoint::TensorEntry& entry = weights.entry(tensor);
      const std::vector<float> values(static_cast<std::size_t>(entry.elements()), value);
      std::fstream file(copy / file_name, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(entry.begin_byte));
      file.write(reinterpret_cast<const char*>(values.data()),
                 static_cast<std::streamsize>(values.size() * sizeof(float)));
    }
    ranks_.world().barrier().wait();
    return checkpoint::inspect_checkpoint(copy);
  }

  test::RankWorld ranks_;
  Stopwatch clock_;
};

class EngineInFp16 : public Fp16, public testing::WithParamInterface<const char*> {};

TEST_P(EngineInFp16, EveryLayoutEndsNearTheOfficialFp32Numbers) {
  const test::ParityCase parity = test::load_parity_case(GetParam());
  const auto folder = checkpoint::inspect_checkpoint(parity.folder / "ckpt");
  const std::int64_t heads = engine::open_expert(folder.experts.front().path).config.num_heads;
  for (const comm::GridShape& shape : test::shapes_of(ranks_.size(), heads)) {
    SCOPED_TRACE(parallel::describe(shape));
    engine::WanEngine engine = engine_of(folder, shape, heads);
    const test::Made made = test::make(engine, parity.request);
    if (ranks_.rank() != 0) continue;
    const double error = test::relative_error(made.latent, parity.final_latent());
    fmt::print("FP16 {} on {}: {:.2e}\n", GetParam(), parallel::describe(shape), error);
    EXPECT_LT(error, 2e-3);
    EXPECT_GT(error, 1e-4) << "fp32 is this near";
  }
}

INSTANTIATE_TEST_SUITE_P(Reference, EngineInFp16, testing::Values("ti2v_image", "ti2v_text", "wan21_t2v"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST_F(Fp16, AnOverflowFailsTheItemOnAllRanksByItsPlace) {
  const test::SharedFolder folder(ranks_);
  const test::Toy toy("wan21_t2v", 3);
  const auto loud = with_tensor(folder, toy, "blocks.1.ffn.2.weight", 6e4F);
  for (const comm::GridShape& shape : test::shapes_of(ranks_.size(), toy.heads)) {
    SCOPED_TRACE(parallel::describe(shape));
    engine::WanEngine engine = engine_of(loud, shape, toy.heads);
    const test::TempDir out;
    for (int repeat = 0; repeat < 2; ++repeat) {  // the first failure leaves nothing behind
      test::SilentObserver observer;
      test::NoControl control;
      const auto run = [&] {
        engine.run(toy.request(), {.video = out / "video.mp4"}, observer, control, {});
      };
      EXPECT_THAT(test::message_of<ItemError>(run),
                  HasSubstr("step 1 of 3: the feed-forward of block 1 gave values beyond 65504, the largest "
                            "number of fp16; make this item in bf16 or fp32"));
    }
  }
}

TEST_F(Fp16, AWeightIsRefusedByItsName) {
  const test::SharedFolder folder(ranks_);
  const test::Toy toy("wan21_t2v", 1);
  const auto loud = with_tensor(folder, toy, "blocks.1.ffn.2.weight", 7e4F);
  // A rank alone reads all weights.
  const auto open = [&] {
    engine::WanEngine(loud, {.compute = {.device = at::kCPU, .type = at::kHalf}}, test::lone_communicators(),
                      clock_);
  };
  EXPECT_THAT(test::message_of<Error>(open),
              AllOf(HasSubstr("blocks.1.ffn.2.weight"), HasSubstr("holds the value 70000"),
                    HasSubstr("compute in bf16 or fp32")));
}

}  // namespace
}  // namespace wan
