#include "parallel/vae_rows.h"

#include <ATen/ATen.h>

#include "parallel/tensor_bytes.h"

namespace wan::parallel {
namespace {

constexpr std::int64_t row_axis = 2;

}  // namespace

VaeRows::VaeRows(comm::Communicator& group, std::int64_t latent_rows)
    : RowExchange(vae::RowSplit(latent_rows, group.size(), group.rank())), group_(group) {}

void VaeRows::fill_halo(const at::Tensor& padded, std::int64_t above, std::int64_t below) {
  const std::int64_t rows = padded.size(row_axis) - above - below;
  const at::Tensor upper_halo = padded.narrow(row_axis, 0, above);             // [C, T, above, W]
  const at::Tensor lower_halo = padded.narrow(row_axis, above + rows, below);  // [C, T, below, W]
  const bool is_first = split().part() == 0;
  const bool is_last = split().part() + 1 == split().parts();
  // The part above needs this part's first rows as its lower halo. The part below needs the last rows as its
  // upper halo.
  const at::Tensor to_above = padded.narrow(row_axis, above, below).contiguous();
  const at::Tensor to_below = padded.narrow(row_axis, rows, above).contiguous();
  const at::Tensor from_above = at::empty(upper_halo.sizes(), padded.options());
  const at::Tensor from_below = at::empty(lower_halo.sizes(), padded.options());
  std::vector<comm::PeerTransfer> transfers;
  if (!is_first) {
    transfers.push_back(
        {.peer = split().part() - 1, .send = bytes_of(to_above), .receive = writable_bytes_of(from_above)});
  }
  if (!is_last) {
    transfers.push_back(
        {.peer = split().part() + 1, .send = bytes_of(to_below), .receive = writable_bytes_of(from_below)});
  }
  group_.exchange(transfers).wait();
  is_first ? upper_halo.zero_() : upper_halo.copy_(from_above);
  is_last ? lower_halo.zero_() : lower_halo.copy_(from_below);
}

at::Tensor VaeRows::gather_rows(const at::Tensor& rows) {
  const at::Tensor own = rows.contiguous();  // [C, T, own rows, W]
  const std::int64_t scale = split().scale_of(own.size(row_axis));
  std::vector<at::Tensor> parts;
  std::vector<comm::PeerTransfer> transfers;
  for (int part = 0; part < split().parts(); ++part) {
    if (part == split().part()) {
      parts.push_back(own);
      continue;
    }
    std::vector<std::int64_t> shape = own.sizes().vec();
    shape[row_axis] = split().row_count(part) * scale;
    parts.push_back(at::empty(shape, own.options()));
    transfers.push_back({.peer = part, .send = bytes_of(own), .receive = writable_bytes_of(parts.back())});
  }
  group_.exchange(transfers).wait();
  return at::cat(parts, row_axis);  // [C, T, all rows, W]
}

}  // namespace wan::parallel
