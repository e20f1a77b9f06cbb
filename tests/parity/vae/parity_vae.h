#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "support/parity_case.h"
#include "support/threaded_row_exchange.h"
#include "vae/vae.h"

namespace wan::test {

inline std::filesystem::path case_folder(const std::string& name) {
  return std::filesystem::path(WAN_TEST_DATA) / "parity" / name;
}

/// The autoencoder of a parity case, whose file has this name.
inline vae::Vae load_vae(const std::string& case_name, const std::string& file_name) {
  const auto file = checkpoint::Checkpoint::open_torch_archive(case_folder(case_name) / "ckpt" / file_name);
  const vae::VaeConfig config =
      vae::infer_vae_config([&](const std::string& tensor) { return file.entry(tensor).shape; });
  EXPECT_EQ(file.names().size(), vae_tensors(config).size());
  return {config, [&](const std::string& tensor) {
            const checkpoint::TensorEntry& entry = file.entry(tensor);
            at::Tensor values = at::empty(entry.shape, at::kFloat);
            file.read_floats(entry, 0, {values.data_ptr<float>(), static_cast<std::size_t>(values.numel())});
            return values;
          }};
}

/// Runs `work` as each part and joins the parts' results along their rows, dimension 2 of a latent and 1 of
/// pixels.
inline at::Tensor by_parts(int parts, std::int64_t latent_rows,
                           const std::function<at::Tensor(vae::RowExchange&)>& work,
                           std::int64_t row_axis = 2) {
  if (parts == 1) {
    vae::SinglePart whole(latent_rows);
    return work(whole);
  }
  std::vector<at::Tensor> made(parts);
  run_parts(parts, latent_rows,
            [&](ThreadedRowExchange& exchange) { made[exchange.split().part()] = work(exchange); });
  return at::cat(made, row_axis);
}

/// Whether uint8 frames are the reference's: no value off by more than one level, and one in a thousand at
/// most.
inline void expect_same_levels(const at::Tensor& frames, const at::Tensor& reference) {
  ASSERT_EQ(frames.sizes(), reference.sizes());
  const at::Tensor off = (frames.to(at::kInt) - reference.to(at::kInt)).abs();
  EXPECT_LE(off.max().item<int>(), 1);
  EXPECT_GE(off.eq(0).to(at::kDouble).mean().item<double>(), 0.999);
}

}  // namespace wan::test
