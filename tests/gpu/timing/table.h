#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

// The table of kernel_timing: each kernel's time and rate beside the limit of the GPU.
namespace wan::timing {

/// A kernel is bound by the bytes of the memory, or by products on the tensor cores (fp32: on the others).
enum class Bound { memory, bf16, tf32, fp32 };
Bound bound_of(at::ScalarType type);  ///< of products of this type; fp32 ones may be rounded to TF32

/// Median times in ms, each between two events, of calls that take turns: the GPU's clock varies with its
/// temperature and power. Three calls to warm up, then fifteen.
std::vector<double> medians_ms(const std::vector<std::function<void()>>& calls);
double median_ms(const std::function<void()>& call);

/// Measures the limits that this GPU sustains, and prints them and the head of the table.
void begin_table();
/// `amount`: bytes that the kernel must read and write once, or floating-point operations. Parameters of one
/// row are not counted.
void print_row(const std::string& kernel, const std::string& shape, double ms, double amount, Bound bound);
/// A row of [tokens, columns] with so many bytes read and written for each element.
void time_rows(const std::string& kernel, std::int64_t tokens, std::int64_t columns, double bytes_per_element,
               const std::function<void()>& call);

/// The kernels of the transformer at so many tokens.
void time_norms(std::int64_t tokens);
void time_pack(std::int64_t tokens);
void time_products(std::int64_t tokens);
void time_attentions(std::int64_t tokens);
void time_low_rank();
/// The loss of two GPUs that share a sequence.
void time_chunked_attention(std::int64_t tokens);
void time_halved_products(std::int64_t tokens);
/// The layers of the Wan 2.1 autoencoder at 480p, as one chunk of latent frames has them.
void time_autoencoder();

inline constexpr std::int64_t heads = 40;
inline constexpr std::int64_t head_dim = 128;
inline constexpr std::int64_t dim = heads * head_dim;
inline constexpr std::int64_t ffn_dim = 13824;
inline at::TensorOptions bf16() { return at::TensorOptions(at::kCUDA).dtype(at::kBFloat16); }

}  // namespace wan::timing
