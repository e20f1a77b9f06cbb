#include "engine/checkpoint_match.h"

#include "core/check.h"
#include "model/model_kind.h"

namespace wan::engine {

void require_text_width(const checkpoint::CheckpointFolder& folder,
                        const checkpoint::TextEncoderConfig& encoder,
                        const checkpoint::TransformerConfig& transformer) {
  if (encoder.dim == transformer.text_dim) return;
  fail<UsageError>("{}: the text encoder's width is {}, the transformers in {} expect {}",
                   folder.text_encoder.string(), encoder.dim, folder.root.string(), transformer.text_dim);
}

void require_vae_fits(const checkpoint::CheckpointFolder& folder, const vae::VaeConfig& vae) {
  const model::ModelKind& kind = model::model_kind(folder.task.name);
  if (vae.latent_channels() == kind.geometry.latent_channels) return;
  fail<UsageError>(
      "{}: the autoencoder has {} latent channels, as {} has, and {} works with {}; use the checkpoint's own "
      "{}",
      folder.vae.string(), vae.latent_channels(), vae.official_file(), kind.task,
      kind.geometry.latent_channels, kind.vae_file);
}

void require_image_branch(const checkpoint::CheckpointFolder& folder,
                          const checkpoint::TransformerConfig& transformer) {
  const bool expects = model::model_kind(folder.task.name).has_image_encoder();
  if (expects && transformer.image_dim == 0) {
    fail<UsageError>(
        "{}: the transformer has no image branch (no tensor 'img_emb.proj.0.weight'), which {} has: it is an "
        "expert of i2v-A14B. Give the folder with high_noise_model and low_noise_model, or both experts as "
        "setting 'high-noise model' and setting 'low-noise model'",
        folder.root.string(), folder.task.name);
  }
  if (!expects && transformer.image_dim > 0) {
    fail<UsageError>(
        "{}: the transformer has an image branch (tensor 'img_emb.proj.0.weight'), which {} has not: it is "
        "Wan 2.1 I2V-14B. Give a folder with it and CLIP in the root, or both as setting 'model' and setting "
        "'image encoder'",
        folder.root.string(), folder.task.name);
  }
}

void require_image_width(const checkpoint::CheckpointFolder& folder,
                         const checkpoint::ImageEncoderConfig& encoder,
                         const checkpoint::TransformerConfig& transformer) {
  if (encoder.dim == transformer.image_dim) return;
  fail<UsageError>("{}: CLIP's width is {}, the transformer in {} expects {}", folder.image_encoder.string(),
                   encoder.dim, folder.root.string(), transformer.image_dim);
}

void require_tokenizer_fits(const std::filesystem::path& tokenizer_folder, const text::Tokenizer& tokenizer,
                            const checkpoint::TextEncoderConfig& encoder) {
  if (tokenizer.vocabulary_size() <= encoder.vocabulary) return;
  fail<UsageError>(
      "the tokenizer in {} has ids up to {}, the text encoder has {} embeddings: they do not belong together",
      tokenizer_folder.string(), tokenizer.vocabulary_size() - 1, encoder.vocabulary);
}

}  // namespace wan::engine
