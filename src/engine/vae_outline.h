#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "vae/row_exchange.h"
#include "vae/vae.h"

namespace wan::engine {

/// Tells which of a sequence of collectives a rank still owes the others.
class OwedCalls {
 public:
  /// `done`: calls of the sequence that have taken place.
  explicit OwedCalls(std::uint64_t done) : done_(done) {}
  /// Of the next call of the sequence.
  bool is_owed() { return number_++ >= done_; }

 private:
  std::uint64_t done_;
  std::uint64_t number_ = 0;
};

/// The same autoencoder as an outline: shapes without memory (the meta device), which computes nothing and
/// makes the same exchanges.
vae::Vae make_outline(const vae::VaeConfig& config);

/// Another exchange's calls for outlines: those that are owed take place, with zeros for the rows.
class OutlineRows final : public vae::RowExchange {
 public:
  /// Both must outlive this. `device`: where the owed rows are sent from.
  OutlineRows(vae::RowExchange& real, OwedCalls& calls, at::Device device);

  void fill_halo(const at::Tensor& padded, std::int64_t above, std::int64_t below) override;
  at::Tensor gather_rows(const at::Tensor& rows) override;

 private:
  vae::RowExchange& real_;
  OwedCalls& calls_;
  at::Device device_;
};

}  // namespace wan::engine
