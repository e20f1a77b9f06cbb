#include "support/parity_case.h"

#include <nlohmann/json.hpp>

#include "model/model_kind.h"

namespace wan::test {

ParityCase load_parity_case(const std::string& name) {
  ParityCase result;
  result.folder = std::filesystem::path(WAN_TEST_DATA) / "parity" / name;
  const auto parameters = nlohmann::json::parse(read_text_file(result.folder / "case.json", 1 << 20));
  const std::string manifest = read_text_file(result.folder / "manifest.csv", 1 << 20);
  // The one row is: case,IMAGE,PROMPT and no field is quoted.
  const std::string row = manifest.substr(manifest.find('\n') + 1);
  const std::size_t prompt_at = row.find(',', row.find(',') + 1) + 1;
  Request& request = result.request;
  request.id = "case";
  request.prompt = row.substr(prompt_at, row.find_last_not_of("\r\n") + 1 - prompt_at);
  const bool is_wan21_i2v = parameters.value("family", "") == "wan2.1-i2v";
  request.negative_prompt =
      is_wan21_i2v ? model::model_kind("i2v-14B").defaults.negative_prompt : default_negative_prompt();
  const bool may_have_image = parameters["task"] != "t2v" && !parameters["image"].is_null();
  if (may_have_image) request.image = result.folder / "input.png";
  request.seed = parameters["noise_seed"];
  request.size = parse_size(parameters["size"].get<std::string>());
  request.frame_num = parameters["frames"];
  request.sample_steps = parameters["steps"];
  request.sample_shift = parameters["shift"];
  request.guide_scale = {.low_noise = parameters["guide_low"], .high_noise = parameters["guide_high"]};
  if (!parameters["boundary"].is_null()) request.boundary = parameters["boundary"].get<double>();
  request.solver = parse_solver_name(parameters["solver"].get<std::string>());
  result.expected = load_tensors(result.folder / "expected.safetensors");
  return result;
}

}  // namespace wan::test
