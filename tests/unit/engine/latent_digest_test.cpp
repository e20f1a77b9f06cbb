#include "engine/latent_digest.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

namespace wan::engine {
namespace {

std::int64_t digest_of(const std::vector<at::Tensor>& parts) {
  std::vector<std::int64_t> shares;
  std::int64_t first = 0;
  for (const at::Tensor& part : parts) {
    shares.push_back(digest_share(part, first).item<std::int64_t>());
    first += part.size(0);
  }
  return latent_digest(shares);
}

TEST(LatentDigest, DoesNotDependOnTheDivisionOfTokens) {
  const at::Tensor latent = at::randn({101, 64});
  const std::int64_t whole = digest_of({latent});
  EXPECT_EQ(digest_of({latent.narrow(0, 0, 34), latent.narrow(0, 34, 34), latent.narrow(0, 68, 33)}), whole);
  EXPECT_EQ(digest_of({latent.narrow(0, 0, 0), latent}), whole);
}

TEST(LatentDigest, TellsBitsAndPlacesApart) {
  const at::Tensor latent = at::randn({20, 64});
  const std::int64_t whole = digest_of({latent});
  at::Tensor other = latent.clone();
  other[7][3] = std::nextafter(other[7][3].item<float>(), 100.0F);
  EXPECT_NE(digest_of({other}), whole);
  EXPECT_NE(digest_of({latent.flip(0)}), whole);
  EXPECT_NE(digest_of({at::zeros({20, 64})}), digest_of({-at::zeros({20, 64})})) << "0 and -0";
}

/// The formula in plain C++: it must stay the same, so that traces of later versions can be compared.
TEST(LatentDigest, IsItsFormula) {
  const at::Tensor latent = at::arange(6, at::kFloat).view({2, 3}) - 2.5;
  std::uint64_t sum = 0;
  for (std::int64_t i = 0; i < 6; ++i) {
    const auto value = latent.flatten()[i].item<float>();
    std::int32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    auto mixed = static_cast<std::uint64_t>(i + 1) * 0x9e3779b97f4a7c15 + static_cast<std::uint64_t>(bits);
    const auto shifted = [&](int by) {
      return static_cast<std::uint64_t>(static_cast<std::int64_t>(mixed) >> by);
    };
    mixed = (mixed ^ shifted(30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ shifted(27)) * 0x94d049bb133111eb;
    sum += mixed ^ shifted(31);
  }
  EXPECT_EQ(digest_of({latent}), static_cast<std::int64_t>(sum));
}

TEST(LatentDigest, IsNeverTheUnknownOne) {
  EXPECT_EQ(latent_digest(std::vector<std::int64_t>{5, -6}), -2);
  EXPECT_EQ(latent_digest(std::vector<std::int64_t>{5, -5}), 0);
}

}  // namespace
}  // namespace wan::engine
