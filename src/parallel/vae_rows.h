#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"
#include "vae/row_exchange.h"

namespace wan::parallel {

/// The VAE's rows over the first `parts` ranks of a communicator: halos between neighbours, whole frames for the middle block's
/// attention. Ranks at or beyond `parts` hold no rows and must not call it.
class VaeRows final : public vae::RowExchange {
 public:
  /// `latent_rows`: height of the latent; parts <= latent_rows and parts <= group.size().
  VaeRows(comm::Communicator& group, int parts, std::int64_t latent_rows);

  int parts() const override { return parts_; }
  int part() const override { return group_.rank(); }
  at::Tensor with_halo(const at::Tensor& rows, int above, int below) override;
  at::Tensor gather_rows(const at::Tensor& rows) override;

 private:
  comm::Communicator& group_;
  int parts_;
  std::int64_t latent_rows_;
};

}  // namespace wan::parallel
