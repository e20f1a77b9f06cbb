#pragma once

#include <string_view>

namespace wan::checkpoint {

/// The networks of a checkpoint, each in files of its own.
enum class Part { transformer, text_encoder, vae, image_encoder };

/// For messages: "a diffusion transformer", "a umT5 text encoder", "a VAE", "a CLIP image encoder".
std::string_view with_article(Part part);

/// The setting that names the part's file, for messages: "setting 'VAE'". The programs put their option
/// there.
std::string_view setting_of(Part part);

}  // namespace wan::checkpoint
