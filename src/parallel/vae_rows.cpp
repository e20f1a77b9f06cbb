#include "parallel/vae_rows.h"

#include <ATen/ATen.h>

#include "parallel/tensor_bytes.h"

namespace wan::parallel {
namespace {

constexpr std::int64_t row_axis = 1;

}  // namespace

VaeRows::VaeRows(comm::Communicator& group, std::int64_t latent_rows)
    : RowExchange(vae::RowSplit(latent_rows, group.size(), group.rank())), group_(group) {}

vae::Halo VaeRows::exchange_halo(const at::Tensor& rows, std::int64_t above, std::int64_t below) {
  const bool is_first = split().part() == 0;
  const bool is_last = split().part() + 1 == split().parts();
  // The part above needs this part's first rows as its lower halo. The part below needs the last rows as its
  // upper halo.
  const at::Tensor to_above = rows.narrow(row_axis, 0, below).contiguous();
  const at::Tensor to_below = rows.narrow(row_axis, rows.size(row_axis) - above, above).contiguous();
  vae::Halo halo;
  std::vector<comm::PeerTransfer> transfers;
  if (!is_first) {
    halo.above = at::empty(to_below.sizes(), rows.options());
    transfers.push_back(
        {.peer = split().part() - 1, .send = bytes_of(to_above), .receive = writable_bytes_of(halo.above)});
  }
  if (!is_last) {
    halo.below = at::empty(to_above.sizes(), rows.options());
    transfers.push_back(
        {.peer = split().part() + 1, .send = bytes_of(to_below), .receive = writable_bytes_of(halo.below)});
  }
  group_.exchange(transfers).wait();
  return halo;
}

at::Tensor VaeRows::gather_rows(const at::Tensor& rows) {
  const at::Tensor own = rows.contiguous();  // [T, own rows, W, C]
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
  return at::cat(parts, row_axis);  // [T, all rows, W, C]
}

}  // namespace wan::parallel
