#pragma once

#include <memory>

#include "engine/autoencoder.h"
#include "engine/denoiser.h"
#include "engine/image_encoder.h"
#include "engine/prompt_encoder.h"
#include "engine/stage.h"
#include "engine/text_look_ahead.h"
#include "gpu/device.h"
#include "kernels/compute.h"
#include "model/model_kind.h"
#include "parallel/weight_placement.h"

namespace wan::engine {

/// The networks of an engine, on this rank. They are replaced when weights are placed anew.
struct Networks {
  std::unique_ptr<PromptEncoder> text;
  std::unique_ptr<ImageEncoder> image;  ///< null where the kind has none
  std::unique_ptr<Denoiser> denoise;
  std::unique_ptr<Autoencoder> vae;
};

/// Objects that the stages of the Wan pipelines use. The engine owns them; they outlive the stages.
struct StageTools {
  const kernels::Compute& compute;
  const gpu::DeviceInfo& gpu;  ///< of this rank, if it computes on one
  const parallel::WeightPlacement& placement;
  Networks networks = {};
  LookAhead look_ahead = {};
  DenoiseListener step_listener = {};  ///< on every rank, for tests; may be empty
};

/// The pipeline of a kind of model (model.md 7.1): image, text, encode, denoise, decode, write. A request of
/// text alone has no image and nothing to encode. Wan 2.1's image to video encodes the image twice.
Pipeline make_pipeline(const model::ModelKind& kind, StageTools& tools);

// The stages. Tensors by name, each the same on every rank: "image" fp32 [3, height, width] in -1..1;
// "context", "negative_context" [tokens, text_dim], the second only with guidance; "condition" fp32 [20,
// frames, height, width], mask, then image latent; "first_frame" fp32 [channels, 1, height, width], the
// image's latent; "clip_image" fp32 [3, side, side] in -1..1 and "image_features" fp32 [tokens, image_dim],
// of CLIP; "latent" fp32 [channels, frames, height, width], denoised. On the leader: "frames", uint8 [frames,
// height, width, 3] each.

/// Makes "image", and "clip_image" for a kind with an image encoder, and sets the size of the video. Runs for
/// a request with an image. Begins to decode the image of the request that is likely to be next.
std::unique_ptr<Stage> read_image(const model::ModelKind& kind, StageTools& tools);
/// Sets the size of the video to that of the request. Runs for a request without an image.
std::unique_ptr<Stage> take_size(const model::ModelKind& kind);
/// Takes up a saved state; or else draws the noise of the request's seed, whole on every rank.
std::unique_ptr<Stage> restore_or_draw_noise(const model::ModelKind& kind, StageTools& tools);
/// Makes "context" and "negative_context".
std::unique_ptr<Stage> encode_texts(StageTools& tools);
/// Refuses a request for which a GPU has too little memory, before work is spent on it.
std::unique_ptr<Stage> check_memory(const model::ModelKind& kind, StageTools& tools);
/// Makes "condition" or "first_frame" of "image", as the kind is conditioned. Runs for a request with an
/// image.
std::unique_ptr<Stage> encode_image(const model::ModelKind& kind, StageTools& tools);
/// Makes "image_features" of "clip_image".
std::unique_ptr<Stage> encode_features(StageTools& tools);
/// Makes "latent". Takes `conditions`, of the names above.
std::unique_ptr<Stage> denoise(std::vector<std::string_view> conditions, const model::ModelKind& kind,
                               StageTools& tools);
/// Makes "frames" of "latent".
std::unique_ptr<Stage> decode(StageTools& tools);
/// Writes the video, and the latents if they are asked for.
std::unique_ptr<Stage> write_outputs();

}  // namespace wan::engine
