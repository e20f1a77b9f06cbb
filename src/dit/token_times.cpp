#include "dit/token_times.h"

#include <ATen/ATen.h>

namespace wan::dit {

at::Tensor TimedTokens::of(const at::Tensor& y) const {
  return y.size(0) == x.size(0) ? y : y.narrow(0, first, x.size(0));
}

at::Tensor norm_by_time(const TokenTimes& times, const at::Tensor& x, at::ScalarType out_type,
                        const std::function<at::Tensor(TimedTokens& tokens)>& norm) {
  if (times.known_tokens == 0) {
    TimedTokens all{.time = 0, .first = 0, .x = x, .out = out_type};
    return norm(all);
  }
  const at::Tensor out = at::empty(x.sizes(), x.options().dtype(out_type));  // [local_tokens, dim]
  const auto part = [&](std::size_t time, std::int64_t first, std::int64_t count) {
    if (count == 0) return;
    TimedTokens tokens{
        .time = time, .first = first, .x = x.narrow(0, first, count), .out = out.narrow(0, first, count)};
    norm(tokens);
  };
  part(0, 0, times.known_tokens);
  part(1, times.known_tokens, x.size(0) - times.known_tokens);
  return out;
}

}  // namespace wan::dit
