#pragma once

#include <fmt/format.h>

#include "mpi/engine_fixture.h"
#include "unit/lora/lora_files.h"

namespace wan::test {

inline constexpr std::uint64_t plenty_bytes = std::uint64_t{1} << 30;

/// Three sets: none; one LoRA for both experts; that one with another strength, and a second one for the
/// high-noise expert that changes tensors without pairs, too.
class LoraSetFiles {
 public:
  template <typename Ranks>
  LoraSetFiles(Ranks& ranks, const Toy& toy) : folder_(ranks) {
    const auto config = engine::open_expert(toy.folder.experts.front().path).config;
    if (ranks.rank() == 0) {
      write("one", lora::test::pairs_of(config, 1));
      lora::test::PlainLora other = lora::test::pairs_of(config, 2);
      other.pairs.erase("blocks.0.self_attn.q");
      lora::test::add_differences(config, other);
      write("two", other);
    }
    ranks.world().barrier().wait();
    const lora::Lora one{.file = file("one"), .strength = 1.0 / 3};
    sets = {{}, {one}, {{.file = file("one"), .strength = 0.2}, {.file = file("two"), .strength = 0.1}}};
    sets[2][1].experts = LoraExperts::high_noise;
  }

  std::filesystem::path file(const char* name) const {
    return folder_ / fmt::format("{}.safetensors", name).c_str();
  }
  engine::LoraOptions options(std::uint64_t kept_bytes = plenty_bytes, int first = 0) const {
    return {.sets = sets, .first = first, .kept_bytes = kept_bytes};
  }

  std::vector<lora::LoraSet> sets;

 private:
  void write(const char* name, const lora::test::PlainLora& lora) const {
    lora::test::NumbersByName tensors;
    for (const auto& [module, pair] : lora.pairs) {
      tensors[module + ".lora_A.weight"] = pair.down;
      tensors[module + ".lora_B.weight"] = pair.up;
    }
    for (const auto& [tensor, numbers] : lora.differences) {
      const std::string_view ending = tensor.ends_with(".bias")        ? ".diff_b"
                                      : tensor.ends_with("modulation") ? ".diff_m"
                                                                       : ".diff";
      tensors[tensor.substr(0, tensor.rfind('.')).append(ending)] = numbers;
    }
    lora::test::write_numbers(file(name), tensors);
  }

  SharedFolder folder_;
};

inline Request with_set(Request request, int set) {
  request.lora_set = set;
  return request;
}

}  // namespace wan::test
