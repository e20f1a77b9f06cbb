#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace wan::vae {

/// The owners of the rows when a clip is split over ranks from top to bottom. Columns, frames and channels
/// are not split. Part p of P owns the latent rows [floor(h8*p/P), floor(h8*(p+1)/P)). At a level of the
/// autoencoder with `scale` times the latent rows (1, 2, 4 or 8; pixels: 8), it owns `scale` times those
/// rows.
class RowSplit {
 public:
  /// Throws Error unless 0 <= part < parts <= latent_rows.
  RowSplit(std::int64_t latent_rows, int parts, int part);

  std::int64_t latent_rows() const { return latent_rows_; }
  int parts() const { return parts_; }
  int part() const { return part_; }

  /// First latent row of a part; first_row(parts()) is latent_rows().
  std::int64_t first_row(int part) const { return latent_rows_ * part / parts_; }
  /// Latent rows of a part, at least one.
  std::int64_t row_count(int part) const { return first_row(part + 1) - first_row(part); }
  /// The level of a tensor with `rows` rows of this part: rows per latent row. Throws Error if `rows` is not
  /// a multiple of the latent rows.
  std::int64_t scale_of(std::int64_t rows) const;
  /// This part's rows of a tensor that holds all rows in dimension `dim`. A view; nothing is copied.
  at::Tensor own_rows(const at::Tensor& whole, std::int64_t dim) const;

 private:
  std::int64_t latent_rows_;
  int parts_;
  int part_;
};

/// How many of `ranks` can take part in a split of `latent_rows` rows, so that every part owns at least one
/// row. The ranks from this number on have no part and no RowExchange.
int active_parts(int ranks, std::int64_t latent_rows);

/// Neighbours' rows beside a part's own: [T, above or below, W, C]. Undefined at the image's border, which
/// zeros surround, and where no rows were asked for.
struct Halo {
  at::Tensor above, below;
};

/// The port through which the parts of a clip read each other's rows. All parts make the same calls in the
/// same order, each from one host thread. The calls must only be ordered with the tensors' stream: the
/// autoencoder never reads a value on the host between them. There is one call for each spatial convolution
/// (exchange_halo) and one for each attention (gather_rows). A single part makes no calls.
class RowExchange {
 public:
  explicit RowExchange(RowSplit split) : split_(split) {}
  virtual ~RowExchange() = default;
  RowExchange(const RowExchange&) = delete;
  RowExchange& operator=(const RowExchange&) = delete;
  RowExchange(RowExchange&&) = delete;
  RowExchange& operator=(RowExchange&&) = delete;

  const RowSplit& split() const { return split_; }
  bool alone() const { return split_.parts() == 1; }

  /// `rows` is this part's [T, h, W, C] with any strides (h >= above and h >= below on every part). Returns
  /// the last `above` rows of the part above and the first `below` rows of the part below.
  virtual Halo exchange_halo(const at::Tensor& rows, std::int64_t above, std::int64_t below) = 0;

  /// `rows` is this part's [T, h, W, C] with any strides. Returns all parts' rows in row order, [T, H, W, C].
  /// Parts may own different numbers of rows (split().row_count(p) * split().scale_of(h)).
  virtual at::Tensor gather_rows(const at::Tensor& rows) = 0;

 private:
  RowSplit split_;
};

/// The exchange for a clip that is not split.
class SinglePart final : public RowExchange {
 public:
  explicit SinglePart(std::int64_t latent_rows) : RowExchange(RowSplit(latent_rows, 1, 0)) {}

  Halo exchange_halo(const at::Tensor& /*rows*/, std::int64_t /*above*/, std::int64_t /*below*/) override {
    return {};
  }
  at::Tensor gather_rows(const at::Tensor& rows) override { return rows; }
};

}  // namespace wan::vae
