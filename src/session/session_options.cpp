#include "session/session_options.h"

#include "core/check.h"
#include "kernels/attention.h"
#include "model/request_values.h"

namespace wan::session {
namespace {

launch::Switch switch_of(SessionOptions::Choice choice) {
  switch (choice) {
    case SessionOptions::Choice::on:
      return launch::Switch::on;
    case SessionOptions::Choice::off:
      return launch::Switch::off;
    case SessionOptions::Choice::automatic:
      break;
  }
  return launch::Switch::automatic;
}

launch::Offload offload_of(SessionOptions::Choice choice) {
  switch (choice) {
    case SessionOptions::Choice::on:
      return launch::Offload::on;
    case SessionOptions::Choice::off:
      return launch::Offload::off;
    case SessionOptions::Choice::automatic:
      break;
  }
  return launch::Offload::automatic;
}

launch::Device device_of(SessionOptions::Device device) {
  switch (device) {
    case SessionOptions::Device::cuda:
      return launch::Device::cuda;
    case SessionOptions::Device::cpu:
      return launch::Device::cpu;
    case SessionOptions::Device::automatic:
      break;
  }
  return launch::Device::automatic;
}

std::optional<launch::Precision> precision_of(SessionOptions::Precision precision) {
  switch (precision) {
    case SessionOptions::Precision::bf16:
      return launch::Precision::bf16;
    case SessionOptions::Precision::fp32:
      return launch::Precision::fp32;
    case SessionOptions::Precision::fp16:
      return launch::Precision::fp16;
    case SessionOptions::Precision::automatic:
      break;
  }
  return std::nullopt;
}

/// The checks that a command line makes when it is parsed.
void check(const SessionOptions& options) {
  constexpr double longest_timeout_s = 86400;
  if (options.checkpoint.empty())
    fail<UsageError>("SessionOptions::checkpoint is empty: name the folder of a checkpoint");
  if (options.cfg_size && (*options.cfg_size < 1 || *options.cfg_size > 2))
    fail<UsageError>("SessionOptions::cfg_size is {}: 1 and 2 are possible", *options.cfg_size);
  if (options.ulysses_size && *options.ulysses_size < 1)
    fail<UsageError>("SessionOptions::ulysses_size is {}: it counts ranks", *options.ulysses_size);
  if (options.collective_timeout_s &&
      !(*options.collective_timeout_s > 0 && *options.collective_timeout_s <= longest_timeout_s)) {
    fail<UsageError>("SessionOptions::collective_timeout_s is {}: above 0, at most {} s are possible",
                     *options.collective_timeout_s, longest_timeout_s);
  }
}

}  // namespace

launch::Options launch_options(const SessionOptions& options, int ranks) {
  check(options);
  launch::Options run;
  run.ckpt_dir = options.checkpoint;
  run.task = options.task;
  run.lightning = switch_of(options.distilled);
  run.device = device_of(options.device);
  run.precision = precision_of(options.precision);
  run.attention = kernels::parse_attention_backend(options.attention);
  run.dit_fsdp = switch_of(options.shard_transformer);
  run.t5_fsdp = switch_of(options.shard_text_encoder);
  run.offload_model = offload_of(options.offload_expert);
  run.t5_cpu = options.text_encoder_on_host;
  run.group_size = ranks;
  run.cfg_size = options.cfg_size;
  run.ulysses_size = options.ulysses_size;
  run.collective_timeout_s = options.collective_timeout_s;
  try {
    if (const auto& size = options.largest_size)
      run.request.size = parse_size(fmt::format("{}*{}", size->width, size->height));
    if (const auto& frames = options.largest_frame_num)
      run.request.frame_num = parse_frame_num(std::to_string(*frames));
  } catch (const ValueError& error) {
    fail<UsageError>("SessionOptions: the largest request: {}", error.what());
  }
  for (const std::string& lora : options.loras) {
    try {
      if (!run.request.loras) run.request.loras.emplace();
      run.request.loras->push_back(parse_lora(lora));
    } catch (const ValueError& error) {
      fail<UsageError>("SessionOptions::loras: {}", error.what());
    }
  }
  return run;
}

std::string describe_values(const SessionOptions& options) {
  const auto count = [](const std::optional<int>& value) { return value.value_or(0); };
  const PixelSize size = options.largest_size.value_or(PixelSize());
  std::string loras;
  for (const std::string& lora : options.loras) loras += lora + "\n";
  return loras + fmt::format("{}\n{}\n{} {} {} {} {} {} {} {} {} {} {}*{} {} {}", options.checkpoint.string(),
                             options.task.value_or(""), static_cast<int>(options.distilled),
                             static_cast<int>(options.device), static_cast<int>(options.precision),
                             options.attention, static_cast<int>(options.shard_transformer),
                             static_cast<int>(options.shard_text_encoder),
                             static_cast<int>(options.offload_expert), options.text_encoder_on_host,
                             count(options.cfg_size), count(options.ulysses_size), size.width, size.height,
                             count(options.largest_frame_num), options.collective_timeout_s.value_or(0));
}

}  // namespace wan::session
