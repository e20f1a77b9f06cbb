#pragma once

#include <filesystem>

#include "checkpoint/model_config.h"
#include "text/tokenizer.h"
#include "vae/vae_config.h"

namespace wan::engine {

// Whether the parts of a checkpoint belong together, from their headers alone: what a run, --dry-run and
// wan_doctor ask alike.

/// Throws UsageError unless the text encoder is as wide as the transformers expect.
void require_text_width(const checkpoint::CheckpointFolder& folder,
                        const checkpoint::TextEncoderConfig& encoder,
                        const checkpoint::TransformerConfig& transformer);

/// Throws UsageError unless the autoencoder makes the latents that the checkpoint's transformers take.
void require_vae_fits(const checkpoint::CheckpointFolder& folder, const vae::VaeConfig& vae);

/// Throws UsageError unless the transformer has an image branch where its task has one, and no other: experts
/// of Wan 2.2 and models of Wan 2.1 have the same type and nearly the same files.
void require_image_branch(const checkpoint::CheckpointFolder& folder,
                          const checkpoint::TransformerConfig& transformer);

/// Throws UsageError unless CLIP is as wide as the transformer's image branch expects.
void require_image_width(const checkpoint::CheckpointFolder& folder,
                         const checkpoint::ImageEncoderConfig& encoder,
                         const checkpoint::TransformerConfig& transformer);

/// Throws UsageError if the tokenizer has ids beyond the text encoder's table of embeddings.
void require_tokenizer_fits(const std::filesystem::path& tokenizer_folder, const text::Tokenizer& tokenizer,
                            const checkpoint::TextEncoderConfig& encoder);

}  // namespace wan::engine
