#pragma once

#include <memory>

#include "checkpoint/checkpoint.h"
#include "lora/lora_merge.h"
#include "parallel/parameter_reader.h"

namespace wan::engine {

/// Adds LoRAs to weights on GPUs, behind their upload, with the bits of `loras` on the CPU: weights in bf16
/// and fp32, up to kernels::max_low_rank_shares LoRAs. `from`: the weights; must live as long.
std::shared_ptr<const parallel::DeviceMerge> lora_on_gpu(const checkpoint::Checkpoint& from,
                                                         std::shared_ptr<const lora::LoraMerge> loras);

}  // namespace wan::engine
