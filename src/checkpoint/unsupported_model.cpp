#include "checkpoint/unsupported_model.h"

#include <array>
#include <string>
#include <string_view>
#include <system_error>

#include "checkpoint/json_file.h"
#include "core/check.h"
#include "model/model_kind.h"

namespace wan::checkpoint {
namespace {

/// The models that are supported, for a message.
std::string built() { return fmt::format("this program supports {}", model::known_tasks()); }

struct KnownModel {
  std::string_view mark;  ///< a model_type, or what a tensor name begins with, or a file
  std::string_view name;
};

constexpr std::array<KnownModel, 4> model_types{
    {{"s2v", "S2V-14B"}, {"animate", "Animate-14B"}, {"vace", "VACE"}, {"flf2v", "Wan 2.1 FLF2V-14B"}}};

constexpr std::array<KnownModel, 5> class_names{{{"WanModel_S2V", "S2V-14B"},
                                                 {"WanAnimateModel", "Animate-14B"},
                                                 {"WanAnimateTransformer3DModel", "Animate-14B"},
                                                 {"VaceWanModel", "VACE"},
                                                 {"WanVACETransformer3DModel", "VACE"}}};

constexpr std::array<KnownModel, 12> tensor_prefixes{{{"vace_", "VACE"},
                                                      {"control_adapter.", "a Fun or camera control model"},
                                                      {"ref_conv.", "a Fun control model"},
                                                      {"img_emb.emb_pos", "Wan 2.1 FLF2V-14B"},
                                                      {"casual_audio_encoder.", "S2V-14B"},
                                                      {"audio_injector.", "S2V-14B"},
                                                      {"frame_packer.", "S2V-14B"},
                                                      {"cond_encoder.", "S2V-14B"},
                                                      {"motion_encoder.", "Animate-14B"},
                                                      {"face_encoder.", "Animate-14B"},
                                                      {"face_adapter.", "Animate-14B"},
                                                      {"pose_patch_embedding.", "Animate-14B"}}};

constexpr std::array<KnownModel, 4> folder_marks{{{"wav2vec2-large-xlsr-53-english", "S2V-14B"},
                                                  {"relighting_lora", "Animate-14B"},
                                                  {"relighting_lora.ckpt", "Animate-14B"},
                                                  {"process_checkpoint", "Animate-14B"}}};

[[noreturn]] void refuse(const std::filesystem::path& where, std::string_view model,
                         std::string_view evidence) {
  fail<UsageError>("{} is {} ({}), which is not supported; {}", where.string(), model, evidence, built());
}

/// Whether a config.json has the values that the plain transformers of Wan 2.1 and Wan 2.2 share.
bool is_wan_model(const nlohmann::json& config) {
  const auto type = config.find("model_type");
  const auto class_name = config.find("_class_name");
  return type != config.end() && type->is_string() &&
         model::find_model_type(type->get_ref<const std::string&>()) != nullptr &&
         (class_name == config.end() || *class_name == "WanModel");
}

}  // namespace

void refuse_unsupported_config(const nlohmann::json& config, const std::filesystem::path& path) {
  const auto text = [&](const char* key) {
    const auto found = config.find(key);
    return found != config.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const std::string type = text("model_type");
  const std::string class_name = text("_class_name");
  for (const KnownModel& model : model_types) {
    if (type == model.mark) refuse(path, model.name, fmt::format("model_type {}", in_quotes(type)));
  }
  if (const auto in_dim = config.find("in_dim"); in_dim != config.end() && *in_dim == 48 && type != "ti2v") {
    fail<UsageError>(
        "{}: in_dim 48 is TI2V-5B's, but model_type is {} and not 'ti2v'; use the checkpoint's own "
        "config.json",
        path.string(), type.empty() ? "missing" : in_quotes(type));
  }
  for (const KnownModel& model : class_names) {
    if (class_name == model.mark)
      refuse(path, model.name, fmt::format("_class_name {}", in_quotes(class_name)));
  }
  if (!class_name.empty() && class_name != "WanModel") {
    fail<UsageError>("{}: _class_name is {}; {}", path.string(), in_quotes(class_name), built());
  }
  if (model::find_model_type(type) == nullptr) {
    fail<UsageError>("{}: model_type is {}; expected 'i2v', 't2v' or 'ti2v': {}", path.string(),
                     type.empty() ? "missing" : in_quotes(type), built());
  }
}

void refuse_unsupported_tensors(const Checkpoint& weights) {
  for (const auto& [name, entry] : weights.entries()) {
    for (const KnownModel& model : tensor_prefixes) {
      if (name.starts_with(model.mark))
        refuse(entry.file, model.name, fmt::format("its tensor {}", in_quotes(name)));
    }
  }
}

void refuse_unsupported_folder(const std::filesystem::path& root) {
  std::error_code unreadable;
  const std::filesystem::path config_path = root / "config.json";
  if (std::filesystem::is_regular_file(config_path, unreadable)) {
    const nlohmann::json config = read_json_object(config_path, 1 << 20);
    if (!is_wan_model(config)) refuse_unsupported_config(config, config_path);
  }
  for (const KnownModel& model : folder_marks) {
    if (std::filesystem::exists(root / model.mark, unreadable)) {
      refuse(root, model.name, fmt::format("it holds {}", model.mark));
    }
  }
}

}  // namespace wan::checkpoint
