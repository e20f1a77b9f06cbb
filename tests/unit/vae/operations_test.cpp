#include "vae/operations.h"

#include <ATen/record_function.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace wan::vae {
namespace {

/// Names of the operations that ATen calls during the object's life.
class CalledOperations {
 public:
  CalledOperations() {
    names().clear();
    handle_ =
        at::addThreadLocalCallback(at::RecordFunctionCallback([](const at::RecordFunction& function)
                                                                  -> std::unique_ptr<at::ObserverContext> {
                                     names().emplace_back(function.name());
                                     return nullptr;
                                   }).scopes({at::RecordScope::FUNCTION}));
  }
  CalledOperations(const CalledOperations&) = delete;
  CalledOperations& operator=(const CalledOperations&) = delete;
  ~CalledOperations() { at::removeCallback(handle_); }

  static std::vector<std::string>& names() {
    thread_local std::vector<std::string> all;
    return all;
  }

 private:
  at::CallbackHandle handle_ = 0;
};

/// A map [C, T, h, W] in the form that the attention block passes: [T, 1, h * W, C], with channels far apart.
at::Tensor tokens_of_map(std::int64_t channels) {
  return at::randn({channels, 2, 3, 5}).flatten(2).permute({1, 2, 0}).unsqueeze(1);
}

TEST(Attend, TakesAKernelThatHoldsNoScores) {
  const at::Tensor q = tokens_of_map(384);
  const CalledOperations called;
  attend(q, tokens_of_map(384), tokens_of_map(384));
  EXPECT_THAT(called.names(), testing::Contains(testing::HasSubstr("_scaled_dot_product_flash_attention")));
  EXPECT_THAT(called.names(), testing::Not(testing::Contains(testing::HasSubstr("attention_math"))));
}

TEST(Attend, IsTheWrittenOutFormula) {
  const at::Tensor q = tokens_of_map(16).to(at::kDouble);
  const at::Tensor k = tokens_of_map(16).to(at::kDouble);
  const at::Tensor v = tokens_of_map(16).to(at::kDouble);
  const at::Tensor expected = at::matmul(at::softmax(at::matmul(q, k.transpose(2, 3)) / 4.0, -1), v);
  EXPECT_LT((attend(q, k, v) - expected).abs().max().item<double>(), 1e-13);
}

TEST(Attend, OfOutlinesMakesAnOutline) {
  const at::Tensor q = at::empty({2, 1, 15, 384}, at::kMeta);
  EXPECT_EQ(attend(q, q, q).sizes(), q.sizes());
}

}  // namespace
}  // namespace wan::vae
