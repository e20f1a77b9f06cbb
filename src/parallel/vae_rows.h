#pragma once

#include <ATen/core/Tensor.h>

#include "comm/communicator.h"
#include "vae/row_exchange.h"

namespace wan::parallel {

/// The VAE's rows, divided over all ranks of a communicator. Neighbours exchange halos. The middle block's
/// attention gets whole frames.
class VaeRows final : public vae::RowExchange {
 public:
  /// `latent_rows`: height of the latent, at least group.size().
  VaeRows(comm::Communicator& group, std::int64_t latent_rows);

  vae::Halo exchange_halo(const at::Tensor& rows, std::int64_t above, std::int64_t below) override;
  at::Tensor gather_rows(const at::Tensor& rows) override;

 private:
  comm::Communicator& group_;
};

}  // namespace wan::parallel
