#include "unit/vae/whole_clip.h"

namespace wan::test {
namespace {

const at::Tensor& get(const Weights& weights, const std::string& name) { return weights.at(name); }

at::Tensor causal(const Weights& weights, const std::string& name, const at::Tensor& x) {
  return reference_causal_conv(x, get(weights, name + ".weight"), get(weights, name + ".bias"));
}

at::Tensor residual(const Weights& weights, const std::string& name, const at::Tensor& x) {
  const std::string r = name + ".residual.";
  at::Tensor y = causal(weights, r + "2", at::silu(reference_norm(x, get(weights, r + "0.gamma"))));
  y = causal(weights, r + "6", at::silu(reference_norm(y, get(weights, r + "3.gamma"))));
  return y + (weights.contains(name + ".shortcut.weight") ? causal(weights, name + ".shortcut", x) : x);
}

at::Tensor middle(const Weights& weights, const std::string& name, at::Tensor x) {
  x = residual(weights, name + ".0", x);
  x = reference_attention(weights, name + ".1", x);
  return residual(weights, name + ".2", x);
}

at::Tensor column(std::initializer_list<double> values) {
  return at::tensor(std::vector<double>(values), at::kDouble).view({16, 1, 1, 1});
}

const at::Tensor mean = column({-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134,
                                -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921});
const at::Tensor deviation = column({2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687,
                                     2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160});

}  // namespace

at::Tensor reference_norm(const at::Tensor& x, const at::Tensor& gamma) {
  const at::Tensor length = (x * x).sum(0, true).sqrt().clamp_min(1e-12);
  return x / length * std::sqrt(static_cast<double>(x.size(0))) * gamma.view({-1, 1, 1, 1});
}

at::Tensor reference_causal_conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor padded = at::constant_pad_nd(x.unsqueeze(0), {0, 0, 0, 0, weight.size(2) - 1, 0});
  return at::conv3d(padded, weight, bias, 1, {0, weight.size(3) / 2, weight.size(4) / 2}).squeeze(0);
}

at::Tensor reference_attention(const Weights& weights, const std::string& name, const at::Tensor& x) {
  const std::int64_t c = x.size(0);
  const auto linear = [&](const std::string& layer, const at::Tensor& in) {  // [out, positions]
    return get(weights, name + layer + ".weight").flatten(1).matmul(in) +
           get(weights, name + layer + ".bias").unsqueeze(1);
  };
  at::Tensor out = x.clone();
  for (std::int64_t t = 0; t < x.size(1); ++t) {
    const at::Tensor frame = x.narrow(1, t, 1);
    const at::Tensor normed = reference_norm(frame, get(weights, name + ".norm.gamma")).flatten(1);
    const at::Tensor qkv = linear(".to_qkv", normed);  // [3C, positions]
    const at::Tensor scores =
        qkv.narrow(0, 0, c).t().matmul(qkv.narrow(0, c, c)) / std::sqrt(static_cast<double>(c));
    const at::Tensor mixed = qkv.narrow(0, 2 * c, c).matmul(scores.softmax(-1).t());  // [C, positions]
    out.narrow(1, t, 1) += linear(".proj", mixed).view(frame.sizes());
  }
  return out;
}

at::Tensor reference_downsample(const Weights& weights, const std::string& name, const at::Tensor& x) {
  const at::Tensor padded = at::constant_pad_nd(x.transpose(0, 1), {0, 1, 0, 1});
  at::Tensor y = at::conv2d(padded, get(weights, name + ".resample.1.weight"),
                            get(weights, name + ".resample.1.bias"), 2)
                     .transpose(0, 1);
  if (!weights.contains(name + ".time_conv.weight")) return y;
  std::vector<at::Tensor> frames{y.narrow(1, 0, 1)};
  for (std::int64_t k = 1; 2 * k < y.size(1); ++k) {
    frames.push_back(at::conv3d(y.narrow(1, 2 * k - 2, 3).unsqueeze(0),
                                get(weights, name + ".time_conv.weight"),
                                get(weights, name + ".time_conv.bias"))
                         .squeeze(0));
  }
  return at::cat(frames, 1);
}

at::Tensor reference_upsample(const Weights& weights, const std::string& name, const at::Tensor& x) {
  at::Tensor y = x;
  if (weights.contains(name + ".time_conv.weight") && x.size(1) > 1) {
    const at::Tensor doubled = causal(weights, name + ".time_conv", x.narrow(1, 1, x.size(1) - 1));
    std::vector<at::Tensor> frames{x.narrow(1, 0, 1)};
    for (std::int64_t t = 0; t < doubled.size(1); ++t) {
      frames.push_back(doubled.narrow(1, t, 1).narrow(0, 0, x.size(0)));
      frames.push_back(doubled.narrow(1, t, 1).narrow(0, x.size(0), x.size(0)));
    }
    y = at::cat(frames, 1);
  }
  const at::Tensor repeated = y.repeat_interleave(2, 2).repeat_interleave(2, 3).transpose(0, 1);
  return at::conv2d(repeated, get(weights, name + ".resample.1.weight"),
                    get(weights, name + ".resample.1.bias"), 1, at::IntArrayRef{1, 1})
      .transpose(0, 1);
}

at::Tensor whole_clip_encode(const Weights& weights, const at::Tensor& pixels) {
  at::Tensor x = causal(weights, "encoder.conv1", pixels);
  for (int layer = 0; layer <= 10; ++layer) {
    const std::string name = "encoder.downsamples." + std::to_string(layer);
    x = layer % 3 == 2 ? reference_downsample(weights, name, x) : residual(weights, name, x);
  }
  x = middle(weights, "encoder.middle", x);
  x = causal(weights, "encoder.head.2", at::silu(reference_norm(x, get(weights, "encoder.head.0.gamma"))));
  return (causal(weights, "conv1", x).narrow(0, 0, 16) - mean) / deviation;
}

at::Tensor whole_clip_decode(const Weights& weights, const at::Tensor& latent) {
  at::Tensor x = causal(weights, "conv2", latent * deviation + mean);
  x = causal(weights, "decoder.conv1", x);
  x = middle(weights, "decoder.middle", x);
  for (int layer = 0; layer <= 14; ++layer) {
    const std::string name = "decoder.upsamples." + std::to_string(layer);
    x = layer % 4 == 3 ? reference_upsample(weights, name, x) : residual(weights, name, x);
  }
  x = causal(weights, "decoder.head.2", at::silu(reference_norm(x, get(weights, "decoder.head.0.gamma"))));
  return x.clamp(-1, 1);
}

}  // namespace wan::test
