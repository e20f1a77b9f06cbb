#include "engine/request_state.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <span>

#include "checkpoint/safetensors.h"
#include "parallel/tensor_bytes.h"
#include "support/temp_dir.h"
#include "wan/error.h"

namespace wan::engine {
namespace {

using Names = std::vector<std::string>;

const std::string identity = "t2v-A14B bf16 5 steps of unipc, weights 0123";

class RequestState : public testing::Test {
 protected:
  at::Tensor latent() const { return at::randn(shape_); }
  /// A state after three steps with such a history, in path_.
  DenoiseState write(const Names& names) const {
    DenoiseState state{.steps_done = 3, .latent = latent(), .history = {}};
    for (const std::string& name : names) state.history.emplace(name, latent());
    write_request_state(path_, {.state = state, .carried = {}, .step_latents = {}}, identity);
    return state;
  }
  DenoiseState read() const {
    return read_request_state(path_, {.identity = identity, .latent_shape = shape_, .most_steps = 5}).state;
  }
  /// The clean sample of a state that was written with `clean`; undefined if it cannot be read.
  at::Tensor read_after(const at::Tensor& clean) const {
    write_request_state(path_,
                        {.state = {.steps_done = 3, .latent = latent(), .history = {}, .clean = clean},
                         .carried = {},
                         .step_latents = {}},
                        identity);
    try {
      return read().clean;
    } catch (const Error&) {
      return {};
    }
  }
  std::string problem() const {
    try {
      read();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  static void expect_equal(const DenoiseState& a, const DenoiseState& b) {
    EXPECT_EQ(a.steps_done, b.steps_done);
    EXPECT_TRUE(at::equal(a.latent, b.latent));
    ASSERT_EQ(a.history.size(), b.history.size());
    for (const auto& [name, tensor] : a.history) EXPECT_TRUE(at::equal(tensor, b.history.at(name))) << name;
  }

  const test::TempDir dir_;
  const std::filesystem::path path_ = dir_ / "state.safetensors";
  const std::vector<std::int64_t> shape_{16, 2, 4, 6};
};

TEST_F(RequestState, KeepsTheCleanSampleIfThereIsOne) {
  EXPECT_FALSE(read_after(at::Tensor()).defined());
  const at::Tensor clean = latent();
  EXPECT_TRUE(at::equal(read_after(clean), clean));
  read_after(at::randn({16, 2, 4, 5}));
  EXPECT_NE(problem().find("'clean' has the shape"), std::string::npos) << problem();
}

TEST_F(RequestState, KeepsTheLatentsOfStepsForThoseWhoWantThem) {
  const StepLatents steps{{0, latent()}, {2, latent()}};  // the second step was made without the option
  write_request_state(
      path_,
      {.state = {.steps_done = 3, .latent = latent(), .history = {}}, .carried = {}, .step_latents = steps},
      identity);
  StateExpectation expected{.identity = identity, .latent_shape = shape_, .most_steps = 5};
  EXPECT_TRUE(read_request_state(path_, expected).step_latents.empty());
  expected.step_latents = true;
  const StepLatents found = read_request_state(path_, expected).step_latents;
  ASSERT_EQ(found.size(), 2);
  EXPECT_TRUE(at::equal(found.at(0), steps.at(0)));
  EXPECT_TRUE(at::equal(found.at(2), steps.at(2)));
}

/// Nothing here knows which tensors a solver keeps: one that does not exist yet resumes like any other.
TEST_F(RequestState, KeepsTheHistoryOfAnySolver) {
  for (const Names& names :
       {Names{}, Names{"data_1", "corrected"}, Names{"velocity_3", "slope", "x", "y_0"}}) {
    const DenoiseState written = write(names);
    expect_equal(read(), written);
  }
}

/// The file as version 0.2.0 wrote it, tensor by tensor.
TEST_F(RequestState, OfVersion020IsRead) {
  const std::string earlier = "t2v-A14B exact 5 steps of unipc, weights 0123";
  const std::int32_t steps_done = 3;
  DenoiseState state{.steps_done = steps_done, .latent = latent(), .history = {}};
  std::vector<checkpoint::TensorView> tensors{{.name = "identity",
                                               .dtype = checkpoint::DType::u8,
                                               .shape = {static_cast<std::int64_t>(earlier.size())},
                                               .bytes = std::as_bytes(std::span(earlier))},
                                              {.name = "steps_done",
                                               .dtype = checkpoint::DType::i32,
                                               .shape = {1},
                                               .bytes = std::as_bytes(std::span(&steps_done, 1))}};
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    tensors.push_back({.name = name,
                       .dtype = checkpoint::DType::f32,
                       .shape = shape_,
                       .bytes = parallel::bytes_of(tensor)});
  };
  add("latent", state.latent);
  for (const char* name : {"corrected", "data_1", "data_2"}) {
    add(std::string("history.") + name, state.history.emplace(name, latent()).first->second);
  }
  checkpoint::write_safetensors(path_, tensors);
  expect_equal(read(), state);
}

TEST_F(RequestState, OfAnotherPrecisionIsNotUsed) {
  write_request_state(
      path_,
      {.state = {.steps_done = 1, .latent = latent(), .history = {}}, .carried = {}, .step_latents = {}},
      "t2v-A14B fp32 5 steps of unipc, weights 0123");
  EXPECT_NE(problem().find("it was made for 't2v-A14B fp32"), std::string::npos) << problem();
}

TEST_F(RequestState, WithOddNamesOrTooManyTensorsIsRefused) {
  for (const std::string& name : {std::string(), std::string("a b"), std::string(32, 'x')}) {
    write({name});
    EXPECT_NE(problem().find("no name of a solver's history"), std::string::npos) << problem();
  }
  write({"a", "b", "c", "d", "e", "f", "g", "h", "i"});
  EXPECT_NE(problem().find("more than 8 tensors"), std::string::npos) << problem();
}

}  // namespace
}  // namespace wan::engine
