#include "dialect_files.h"

#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>

#include "checkpoint/model_config.h"
#include "checkpoint_files.h"

namespace wan::checkpoint::test {
namespace {

namespace fs = std::filesystem;

/// "blocks.3.x" as "blocks.0.x" with the number apart: the table lists the first of blocks that are alike.
struct InFirstBlock {
  std::string name;
  std::string block;
};

InFirstBlock in_first_block(const std::string& official) {
  static const std::regex block(R"(^(visual\.transformer\.|blocks\.)([0-9]+)(\..*)$)");
  std::smatch found;
  if (!std::regex_match(official, found, block)) return {official, ""};
  return {found[1].str() + "0" + found[3].str(), found[2].str()};
}

std::string with_block(const std::string& theirs, const std::string& block) {
  if (block.empty()) return theirs;
  static const std::regex first(R"((blocks|block|layers)\.0\.)");
  return std::regex_replace(theirs, first, "$1." + block + ".", std::regex_constants::format_first_only);
}

/// Rows [first, first + count) of a tensor.
WrittenTensor rows_of(const WrittenTensor& whole, std::int64_t first, std::int64_t count) {
  WrittenTensor part = whole;
  part.shape[0] = count;
  const std::size_t row_bytes = whole.bytes.size() / static_cast<std::size_t>(whole.shape[0]);
  const auto begin = whole.bytes.begin() + first * static_cast<std::int64_t>(row_bytes);
  part.bytes.assign(begin, begin + count * static_cast<std::int64_t>(row_bytes));
  return part;
}

void write_json(const fs::path& path, const nlohmann::json& values) {
  std::ofstream(path) << values.dump(2) << '\n';
}

nlohmann::json transformer_config(const fs::path& official, const Checkpoint& weights) {
  const TransformerConfig config = read_transformer_config(official, weights);
  const bool has_image = config.image_dim > 0;
  return {{"_class_name", "WanTransformer3DModel"},
          {"_diffusers_version", "0.36.0"},
          {"added_kv_proj_dim", has_image ? nlohmann::json(config.dim) : nlohmann::json()},
          {"attention_head_dim", config.head_dim()},
          {"cross_attn_norm", true},
          {"eps", config.eps},
          {"ffn_dim", config.ffn_dim},
          {"freq_dim", config.freq_dim},
          {"image_dim", has_image ? nlohmann::json(config.image_dim) : nlohmann::json()},
          {"in_channels", config.in_dim},
          {"num_attention_heads", config.num_heads},
          {"num_layers", config.num_layers},
          {"out_channels", config.out_dim},
          {"patch_size", {1, 2, 2}},
          {"pos_embed_seq_len", nullptr},
          {"qk_norm", "rms_norm_across_heads"},
          {"rope_max_seq_len", 1024},
          {"text_dim", config.text_dim}};
}

/// An expert as two shards with their index.
void write_expert(const fs::path& official, const fs::path& to) {
  fs::create_directories(to);
  const Checkpoint weights = Checkpoint::open_safetensors_folder(official);
  const WrittenTensors tensors = in_dialect(tensors_of(weights), "transformer");
  std::array<WrittenTensors, 2> shards;
  nlohmann::json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", nlohmann::json::object()}};
  std::size_t count = 0;
  for (const auto& [name, tensor] : tensors) {
    const std::size_t shard = count++ % 2;  // q, k and v of a block lie in two files
    shards[shard].emplace(name, tensor);
    index["weight_map"][name] = fmt::format("diffusion_pytorch_model-0000{}-of-00002.safetensors", shard + 1);
  }
  for (std::size_t shard = 0; shard < 2; ++shard)
    write_file(to / fmt::format("diffusion_pytorch_model-0000{}-of-00002.safetensors", shard + 1),
               shards[shard]);
  write_json(to / "diffusion_pytorch_model.safetensors.index.json", index);
  write_json(to / "config.json", transformer_config(official, weights));
}

void write_part(const fs::path& official, const fs::path& to, std::string_view part) {
  fs::create_directories(to.parent_path());
  write_file(to, in_dialect(tensors_of(Checkpoint::open_torch_archive(official)), part));
}

}  // namespace

WrittenTensors tensors_of(const Checkpoint& file) {
  WrittenTensors tensors;
  for (const auto& [name, entry] : file.entries()) {
    WrittenTensor& tensor = tensors[name];
    tensor.shape = entry.shape;
    tensor.dtype = entry.dtype == DType::bf16 ? DType::bf16 : DType::f32;
    const auto elements = static_cast<std::size_t>(entry.elements());
    tensor.bytes.resize(elements * size_bytes(tensor.dtype));
    if (tensor.dtype == DType::bf16) {
      file.read_bf16(entry, 0, {reinterpret_cast<std::uint16_t*>(tensor.bytes.data()), elements});
    } else {
      file.read_floats(entry, 0, {reinterpret_cast<float*>(tensor.bytes.data()), elements});
    }
  }
  return tensors;
}

void write_file(const fs::path& path, const WrittenTensors& tensors) {
  std::vector<TensorView> views;
  views.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors)
    views.push_back({.name = name, .dtype = tensor.dtype, .shape = tensor.shape, .bytes = tensor.bytes});
  write_safetensors(path, views);
}

std::vector<NamePair> names_of(std::string_view part) {
  std::ifstream file(test_data("checkpoint/dialect_names.tsv"));
  std::vector<NamePair> pairs;
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string of;
    NamePair pair;
    if (!line.starts_with('#') && fields >> of >> pair.theirs >> pair.official && of == part)
      pairs.push_back(pair);
  }
  return pairs;
}

WrittenTensors in_dialect(const WrittenTensors& official, std::string_view part) {
  std::map<std::string, std::vector<std::string>> by_official;
  for (const NamePair& pair : names_of(part)) by_official[pair.official].push_back(pair.theirs);
  WrittenTensors result;
  for (const auto& [name, tensor] : official) {
    const InFirstBlock first = in_first_block(name);
    const auto found = by_official.find(first.name);
    if (found == by_official.end()) {
      EXPECT_EQ(part, "clip") << name;  // the text half and the heads of CLIP
      continue;
    }
    if (found->second.size() == 3) {  // q, k and v
      const std::int64_t rows = tensor.shape[0] / 3;
      for (const std::string& theirs : found->second) {
        const std::int64_t piece = theirs.find("q_proj") != std::string::npos   ? 0
                                   : theirs.find("k_proj") != std::string::npos ? 1
                                                                                : 2;
        result[with_block(theirs, first.block)] = rows_of(tensor, piece * rows, rows);
      }
      continue;
    }
    WrittenTensor written = tensor;
    if (name == "visual.cls_embedding" || name == "visual.pos_embedding")
      std::erase(written.shape, 1);  // [1, 1, dim], [1, tokens, dim]
    result[with_block(found->second.front(), first.block)] = std::move(written);
  }
  return result;
}

void write_repository(const std::string& parity_case, const fs::path& root) {
  const fs::path official = test_data("parity/" + parity_case + "/ckpt");
  const bool has_two = fs::exists(official / "high_noise_model");
  write_expert(has_two ? official / "high_noise_model" : official, root / "transformer");
  if (has_two) write_expert(official / "low_noise_model", root / "transformer_2");
  const bool is_22 = fs::exists(official / "Wan2.2_VAE.pth");
  write_part(official / (is_22 ? "Wan2.2_VAE.pth" : "Wan2.1_VAE.pth"),
             root / "vae/diffusion_pytorch_model.safetensors", is_22 ? "vae22" : "vae21");
  write_part(official / "models_t5_umt5-xxl-enc-bf16.pth", root / "text_encoder/model.safetensors", "umt5");
  const fs::path clip = official / "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth";
  const bool has_clip = fs::exists(clip);
  if (has_clip) write_part(clip, root / "image_encoder/model.safetensors", "clip");
  fs::create_directories(root / "tokenizer");
  fs::copy(fs::canonical(official / "google") / "umt5-xxl", root / "tokenizer", fs::copy_options::recursive);
  const nlohmann::json none = nlohmann::json::array({nullptr, nullptr});
  write_json(root / "model_index.json",
             {{"_class_name", has_clip ? "WanImageToVideoPipeline" : "WanPipeline"},
              {"transformer", {"diffusers", "WanTransformer3DModel"}},
              {"transformer_2", has_two ? nlohmann::json{"diffusers", "WanTransformer3DModel"} : none},
              {"image_encoder", has_clip ? nlohmann::json{"transformers", "CLIPVisionModel"} : none}});
}

void write_headers_only(const fs::path& path, const std::map<std::string, std::vector<std::int64_t>>& shapes,
                        std::string_view dtype) {
  nlohmann::json header = nlohmann::json::object();
  const std::uint64_t element_bytes = size_bytes(*parse_dtype(dtype));
  std::uint64_t end = 0;
  for (const auto& [name, shape] : shapes) {
    const std::uint64_t begin = end;
    end += static_cast<std::uint64_t>(*checked_elements(shape)) * element_bytes;
    header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {begin, end}}};
  }
  write_bytes(path, safetensors(header.dump(), 0));
  fs::resize_file(path, fs::file_size(path) + end);
}

}  // namespace wan::checkpoint::test
