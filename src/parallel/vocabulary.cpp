#include "parallel/vocabulary.h"

#include <ATen/ATen.h>

#include "comm/rank_grid.h"
#include "core/check.h"
#include "parallel/tensor_bytes.h"

namespace wan::parallel {

Vocabulary::Vocabulary(const checkpoint::Parameter& table, const ParameterReader& read,
                       comm::Communicator& group)
    : group_(group), vocabulary_(table.shape.at(0)) {
  const auto [first, last] = comm::split_range(vocabulary_, group.size(), group.rank());
  const std::int64_t dim = table.shape.at(1);
  first_ = first;
  rows_ = at::empty({last - first, dim}, at::kFloat);  // [own rows, dim]
  read(table, first * dim, floats_of(rows_));
}

at::Tensor Vocabulary::lookup(std::span<const std::int64_t> ids) {
  at::Tensor result =
      at::zeros({static_cast<std::int64_t>(ids.size()), rows_.size(1)}, at::kFloat);  // [ids, dim]
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary_) {
      fail_item("text",
                "token id {} is beyond the text encoder's vocabulary of {}: tokenizer and checkpoint do not "
                "belong together",
                ids[i], vocabulary_);
    }
    const std::int64_t row = ids[i] - first_;
    if (row >= 0 && row < rows_.size(0)) result[static_cast<std::int64_t>(i)].copy_(rows_[row]);
  }
  group_.all_reduce(floats_of(result), comm::ReduceOp::sum).wait();
  return result;
}

}  // namespace wan::parallel
