#include "vae/row_exchange.h"

#include <algorithm>

#include "core/check.h"

namespace wan::vae {

RowSplit::RowSplit(std::int64_t latent_rows, int parts, int part)
    : latent_rows_(latent_rows), parts_(parts), part_(part) {
  WAN_CHECK(0 <= part && part < parts && parts <= latent_rows, "part {} of {} for {} latent rows", part,
            parts, latent_rows);
}

std::int64_t RowSplit::scale_of(std::int64_t rows) const {
  const std::int64_t own = row_count(part_);
  WAN_CHECK(rows > 0 && rows % own == 0, "{} rows at part {} of {}, which owns {} latent rows", rows, part_,
            parts_, own);
  return rows / own;
}

at::Tensor RowSplit::own_rows(const at::Tensor& whole, std::int64_t dim) const {
  const std::int64_t rows = whole.size(dim);
  WAN_CHECK(rows > 0 && rows % latent_rows_ == 0, "{} rows are not a multiple of {} latent rows", rows,
            latent_rows_);
  const std::int64_t scale = rows / latent_rows_;
  return whole.narrow(dim, first_row(part_) * scale, row_count(part_) * scale);
}

int active_parts(int ranks, std::int64_t latent_rows) {
  return static_cast<int>(std::min<std::int64_t>(ranks, latent_rows));
}

}  // namespace wan::vae
