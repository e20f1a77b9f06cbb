#include "vae/operations.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace wan::vae {
namespace {

/// Three maps [T, rows, columns, channels] that are parts of one, as the attention block passes them.
struct Maps {
  at::Tensor q, k, v;
};
Maps random_maps(std::int64_t channels, at::ScalarType type) {
  const at::Tensor all = at::randn({2, 6, 5, 3 * channels}, at::kDouble).to(type);
  return {all.narrow(3, 0, channels), all.narrow(3, channels, channels),
          all.narrow(3, 2 * channels, channels)};
}

TEST(Attend, IsTheWrittenOutFormula) {
  const Maps maps = random_maps(16, at::kDouble);
  const auto tokens = [](const at::Tensor& map) { return map.flatten(1, 2); };
  const at::Tensor scores = at::matmul(tokens(maps.q), tokens(maps.k).transpose(1, 2)) / 4.0;
  const at::Tensor expected = at::matmul(at::softmax(scores, -1), tokens(maps.v)).view(maps.q.sizes());
  EXPECT_LT((attend(maps.q, maps.k, maps.v) - expected).abs().max().item<double>(), 1e-13);
}

TEST(Attend, BitsOfARowDoNotDependOnTheOthers) {
  const Maps maps = random_maps(384, at::kFloat);
  const at::Tensor whole = attend(maps.q, maps.k, maps.v);
  for (const std::int64_t count : {1, 2, 5})
    EXPECT_TRUE(attend(maps.q.narrow(1, 1, count), maps.k, maps.v).equal(whole.narrow(1, 1, count))) << count;
}

TEST(Attend, OfOutlinesMakesAnOutline) {
  const at::Tensor q = at::empty({2, 3, 5, 384}, at::kMeta);
  const at::Tensor k = at::empty({2, 9, 5, 384}, at::kMeta);
  EXPECT_EQ(attend(q, k, k).sizes(), q.sizes());
}

}  // namespace
}  // namespace wan::vae
