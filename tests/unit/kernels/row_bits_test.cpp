// On the CPU a row's bits depend on the row alone: not on the other rows, nor on the threads.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/linear.h"
#include "kernels/normalization.h"

namespace wan::kernels {
namespace {

/// Sets LibTorch's threads for as long as it lives.
class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() { at::set_num_threads(before_); }

 private:
  int before_;
};

at::Tensor random(at::IntArrayRef sizes, at::ScalarType type) {
  return at::randn(sizes, at::TensorOptions(at::kFloat)).to(type);
}

using Function = std::function<at::Tensor(const at::Tensor& x)>;

/// Computes f of all rows, and of some of them with several numbers of threads: the rows' bits must be equal.
void expect_equal_rows(const std::string& name, const Function& f, const at::Tensor& x) {
  const std::int64_t rows = x.size(0);
  at::Tensor whole;
  {
    const Threads one(1);
    whole = f(x);
  }
  for (const int threads : {1, 3}) {
    const Threads some(threads);
    EXPECT_TRUE(at::equal(f(x), whole)) << name << " with " << threads << " threads";
    for (const auto& [first, count] : {std::pair<std::int64_t, std::int64_t>{0, 1},
                                       {0, rows / 2},
                                       {rows / 2, rows - rows / 2},
                                       {rows / 3, rows / 7 + 1},
                                       {1, rows - 1}}) {
      EXPECT_TRUE(at::equal(f(x.narrow(0, first, count)), whole.narrow(0, first, count)))
          << name << ", rows " << first << " + " << count << " of " << rows << " with " << threads
          << " threads";
    }
  }
}

const std::vector<at::ScalarType> types{at::kFloat, at::kBFloat16, at::kHalf};
const std::vector<std::int64_t> row_counts{5, 37, 251};

TEST(RowBits, ProductsOfSomeRowsAreThoseOfAll) {
  struct Shape {
    std::int64_t in, out;
  };
  for (const at::ScalarType type : types) {
    for (const Shape& shape : {Shape{24, 70}, {64, 64}, {300, 33}, {1100, 48}}) {
      const at::Tensor weight = random({shape.out, shape.in}, type);
      const at::Tensor bias = random({shape.out}, type);
      for (const std::int64_t rows : row_counts) {
        const at::Tensor x = random({rows, shape.in}, at::kFloat);
        expect_equal_rows(
            "linear", [&](const at::Tensor& some) { return kernels::linear(some, weight, bias); }, x);
        expect_equal_rows(
            "linear_gelu", [&](const at::Tensor& some) { return kernels::linear_gelu(some, weight, bias); },
            x);
      }
    }
  }
}

TEST(RowBits, AttentionOfSomeQueriesIsThatOfAll) {
  struct Shape {
    std::int64_t keys, heads, head_dim;
  };
  for (const at::ScalarType type : types) {
    for (const Shape& shape : {Shape{7, 2, 12}, {300, 3, 24}, {512, 2, 64}}) {
      const at::Tensor k = random({shape.keys, shape.heads, shape.head_dim}, type);
      const at::Tensor v = random({shape.keys, shape.heads, shape.head_dim}, type);
      for (const std::int64_t rows : row_counts) {
        expect_equal_rows(
            "attention", [&](const at::Tensor& some) { return attention(some, k, v); },
            random({rows, shape.heads, shape.head_dim}, type));
      }
    }
  }
}

TEST(RowBits, AttentionOfSomeHeadsIsThatOfAll) {
  const at::Tensor q = random({70, 6, 24}, at::kFloat);
  const at::Tensor k = random({90, 6, 24}, at::kFloat);
  const at::Tensor v = random({90, 6, 24}, at::kFloat);
  const at::Tensor whole = attention(q, k, v);
  for (std::int64_t head = 0; head < 6; head += 2) {
    const auto some = [&](const at::Tensor& x) { return x.narrow(1, head, 2); };
    EXPECT_TRUE(at::equal(attention(some(q), some(k), some(v)), some(whole)));
  }
}

TEST(RowBits, ActivationsAndNormsOfSomeRowsAreThoseOfAll) {
  for (const at::ScalarType type : types) {
    for (const std::int64_t width : {70, 768}) {
      const at::Tensor weight = random({width}, at::kFloat);
      const at::Tensor bias = random({width}, at::kFloat);
      const at::Tensor norm_weight = random({width}, type);
      for (const std::int64_t rows : {37, 419}) {
        const at::Tensor x = random({rows, width}, type);
        expect_equal_rows("gelu_tanh", kernels::gelu_tanh, x);
        expect_equal_rows("gelu", kernels::gelu, x);
        expect_equal_rows("silu", kernels::silu, x);
        expect_equal_rows(
            "rms_norm", [&](const at::Tensor& some) { return rms_norm(some, norm_weight, 1e-6); }, x);
        const at::Tensor wide = x.to(at::kFloat);
        expect_equal_rows(
            "layer_norm_modulate",
            [&](const at::Tensor& some) { return layer_norm_modulate(some, weight, bias, 1e-6, type); },
            wide);
        expect_equal_rows(
            "layer_norm_affine",
            [&](const at::Tensor& some) { return layer_norm_affine(some, weight, bias, 1e-6, type); }, wide);
      }
    }
  }
}

double error(const at::Tensor& value, const at::Tensor& exact) {
  return ((value.to(at::kDouble) - exact).abs().max() / exact.abs().max()).item<double>();
}

TEST(RowBits, ProductsAndActivationsAreTheirDefinitions) {
  const at::Tensor weight = random({70, 1100}, at::kDouble);
  const at::Tensor bias = random({70}, at::kDouble);
  const at::Tensor x = random({29, 1100}, at::kDouble);
  const at::Tensor exact = at::matmul(x, weight.t()) + bias;
  const auto narrow = [](const at::Tensor& value) { return value.to(at::kFloat); };
  EXPECT_LT(error(kernels::linear(x, weight, bias), exact), 1e-14);
  EXPECT_LT(error(kernels::linear(narrow(x), narrow(weight), narrow(bias)), exact), 1e-6);
  EXPECT_TRUE(at::equal(kernels::linear(narrow(x[3]), narrow(weight)),
                        kernels::linear(narrow(x), narrow(weight))[3]));
  EXPECT_LT(error(kernels::gelu_tanh(narrow(exact)), at::gelu(exact, "tanh")), 1e-6);
  EXPECT_LT(error(kernels::gelu(narrow(exact)), at::gelu(exact)), 1e-6);
  EXPECT_LT(error(kernels::silu(narrow(exact)), at::silu(exact)), 1e-6);
  EXPECT_TRUE(at::isnan(kernels::silu(at::full({3}, NAN))).all().item<bool>());
}

TEST(RowBits, BatchedProductsAreThoseOfEachMatrix) {
  const at::Tensor x = random({3, 19, 40}, at::kFloat);
  const at::Tensor y = random({3, 21, 40}, at::kFloat);
  const at::Tensor products = kernels::batched_product(x, y.transpose(1, 2));
  for (std::int64_t i = 0; i < 3; ++i) EXPECT_TRUE(at::equal(products[i], kernels::linear(x[i], y[i])));
  EXPECT_LT(error(products, at::matmul(x.to(at::kDouble), y.to(at::kDouble).transpose(1, 2))), 1e-6);
}

}  // namespace
}  // namespace wan::kernels
