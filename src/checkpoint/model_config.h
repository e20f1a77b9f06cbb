#pragma once
#include <cstdint>
#include <string>
#include <vector>
namespace wan::checkpoint {
struct TransformerConfig { std::string model_type; std::int64_t dim=0, ffn_dim=0, freq_dim=0, in_dim=0, out_dim=0, text_dim=0, text_len=0, num_heads=0, num_layers=0; double eps=0; };
struct TextEncoderConfig { std::int64_t vocabulary=0, dim=0, attention_dim=0, ffn_dim=0, num_heads=0, num_layers=0, num_buckets=0; };
}
