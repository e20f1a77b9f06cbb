#include "apps/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "apps/option_table.h"
#include "kernels/attention.h"
#include "option_calls.h"
#include "support/temp_dir.h"

namespace wan::apps {
namespace {

using ::testing::HasSubstr;

TEST(Options, DefaultsLeaveToTheProgramWhatItFindsItself) {
  const launch::Options options = parse_with({});
  EXPECT_EQ(options.ckpt_dir, "ckpt");
  EXPECT_EQ(options.manifest, "rows.csv");
  EXPECT_EQ(options.output_dir, "outputs");
  EXPECT_EQ(options.codec, "libx264");
  EXPECT_EQ(options.crf, 10);
  EXPECT_EQ(options.device, launch::Device::automatic);
  EXPECT_EQ(options.objective, launch::Objective::latency);
  EXPECT_EQ(options.noise_device, NoiseDevice::cpu);
  EXPECT_EQ(options.dit_fsdp, launch::Switch::automatic);
  EXPECT_EQ(options.offload_model, launch::Offload::automatic);
  EXPECT_EQ(options.log_level, LogLevel::normal);
  EXPECT_TRUE(options.resume);
  EXPECT_FALSE(options.plan || options.dry_run || options.retry_failed || options.save_latents ||
               options.t5_cpu);
  EXPECT_FALSE(options.task || options.image || options.prompt || options.save_file || options.trace ||
               options.fps);
  EXPECT_FALSE(options.precision || options.group_size || options.cfg_size || options.ulysses_size);
  EXPECT_FALSE(options.gpus || options.gpu_memory_bytes || options.collective_timeout_s);
  EXPECT_FALSE(options.request.size || options.request.frame_num || options.request.seed);
}

TEST(Options, SamplingValues) {
  const launch::Options options =
      parse_with({"--size", "832*480", "--frame-num=49", "--sample-steps", "30", "--sample-shift", "3",
                  "--sample-guide-scale", "3,4.5", "--boundary", "0.875", "--sample-solver", "dpm++",
                  "--base-seed", "-1", "--negative-prompt", "blur", "--noise-device", "cuda"});
  EXPECT_EQ(options.request.size, (PixelSize{832, 480}));
  EXPECT_EQ(options.request.frame_num, 49);
  EXPECT_EQ(options.request.sample_steps, 30);
  EXPECT_EQ(options.request.sample_shift, 3.0);
  EXPECT_EQ(options.request.guide_scale, (GuideScale{3, 4.5}));
  EXPECT_EQ(options.request.boundary, 0.875);
  EXPECT_EQ(options.request.solver, Solver::dpmpp);
  EXPECT_EQ(options.request.seed, std::nullopt) << "-1";
  EXPECT_EQ(options.request.negative_prompt, "blur");
  EXPECT_EQ(options.noise_device, NoiseDevice::cuda);
}

TEST(Options, InputAndOutput) {
  const launch::Options options =
      parse_with({"--task", "i2v-A14B", "--output-dir", "out", "--fps", "24", "--codec", "libx265", "--crf",
                  "18", "--save-latents", "--trace", "t.h5"});
  EXPECT_EQ(options.task, "i2v-A14B");
  EXPECT_EQ(options.output_dir, "out");
  EXPECT_EQ(options.fps, 24);
  EXPECT_EQ(options.codec, "libx265");
  EXPECT_EQ(options.crf, 18);
  EXPECT_TRUE(options.save_latents);
  EXPECT_FALSE(options.step_latents);
  EXPECT_EQ(options.trace, "t.h5");
  for (const Arguments& steps : {Arguments{"--save-latents", "steps"}, Arguments{"--save-latents=steps"}}) {
    EXPECT_TRUE(parse_with(steps).save_latents);
    EXPECT_TRUE(parse_with(steps).step_latents);
  }
  EXPECT_TRUE(parse_with({"--save-latents", "final"}).save_latents);
  EXPECT_FALSE(parse_with({"--save-latents", "off"}).save_latents);
}

TEST(Options, MachineAndRun) {
  const launch::Options options = parse_with({"--device",
                                              "cpu",
                                              "--precision",
                                              "fp32",
                                              "--objective",
                                              "latency",
                                              "--group-size",
                                              "4",
                                              "--cfg-size",
                                              "2",
                                              "--ulysses-size",
                                              "auto",
                                              "--dit-fsdp",
                                              "--t5-fsdp",
                                              "off",
                                              "--t5-cpu",
                                              "--offload-model",
                                              "off",
                                              "--no-resume",
                                              "--retry-failed",
                                              "--collective-timeout",
                                              "30",
                                              "--log-level",
                                              "verbose",
                                              "--dry-run"});
  EXPECT_EQ(options.device, launch::Device::cpu);
  EXPECT_EQ(options.precision, launch::Precision::fp32);
  EXPECT_EQ(options.objective, launch::Objective::latency);
  EXPECT_EQ(options.group_size, 4);
  EXPECT_EQ(options.cfg_size, 2);
  EXPECT_FALSE(options.ulysses_size);
  EXPECT_EQ(options.dit_fsdp, launch::Switch::on);
  EXPECT_EQ(options.t5_fsdp, launch::Switch::off);
  EXPECT_TRUE(options.t5_cpu);
  EXPECT_EQ(options.offload_model, launch::Offload::off);
  EXPECT_FALSE(options.resume);
  EXPECT_TRUE(options.retry_failed);
  EXPECT_EQ(options.collective_timeout_s, 30.0);
  EXPECT_EQ(options.log_level, LogLevel::verbose);
  EXPECT_TRUE(options.dry_run);
}

TEST(Options, PlanForAnotherMachine) {
  const launch::Options options =
      parse({"--ckpt-dir", "ckpt", "--plan", "--gpus", "8", "--gpu-memory", "48GiB"});
  EXPECT_TRUE(options.plan);
  EXPECT_EQ(options.gpus, 8);
  EXPECT_EQ(options.gpu_memory_bytes, std::uint64_t{48} << 30);
  EXPECT_EQ(message_with({"--gpus", "8"}),
            "--gpus goes with --plan or --dry-run only; mpirun sets the ranks of a run");
  EXPECT_EQ(message_with({"--gpu-memory", "8GB"}),
            "--gpu-memory goes with --plan or --dry-run only; a run asks the GPUs themselves");
  EXPECT_EQ(message_with({"--plan", "--dry-run"}), "--plan and --dry-run exclude each other");
  EXPECT_EQ(message_with({"--plan", "--list-rows"}), "--list-rows and --plan exclude each other");
}

TEST(Options, SpellingsOfTheOfficialScript) {
  const launch::Options options = parse({"--task",
                                         "i2v-A14B",
                                         "--size",
                                         "1280*720",
                                         "--ckpt_dir",
                                         "./Wan2.2-I2V-A14B",
                                         "--image",
                                         "in.jpg",
                                         "--prompt",
                                         "a cat",
                                         "--save_file",
                                         "out.mp4",
                                         "--frame_num",
                                         "81",
                                         "--offload_model",
                                         "False",
                                         "--convert_model_dtype",
                                         "--dit_fsdp",
                                         "--t5_fsdp",
                                         "--t5_cpu",
                                         "--ulysses_size",
                                         "8",
                                         "--base_seed",
                                         "7",
                                         "--sample_guide_scale",
                                         "5.0",
                                         "--sample_steps=20",
                                         "--sample_shift=8",
                                         "--sample_solver",
                                         "unipc"});
  EXPECT_EQ(options.ckpt_dir, "./Wan2.2-I2V-A14B");
  EXPECT_EQ(options.image, "in.jpg");
  EXPECT_EQ(options.prompt, "a cat");
  EXPECT_EQ(options.save_file, "out.mp4");
  EXPECT_EQ(options.offload_model, launch::Offload::off);
  EXPECT_EQ(options.dit_fsdp, launch::Switch::on);
  EXPECT_EQ(options.t5_fsdp, launch::Switch::on);
  EXPECT_TRUE(options.t5_cpu);
  EXPECT_EQ(options.ulysses_size, 8);
  EXPECT_EQ(options.request.seed, 7);
  EXPECT_EQ(options.request.guide_scale, (GuideScale{5, 5}));
  EXPECT_EQ(options.request.sample_steps, 20);
}

TEST(Options, HeadChunksAreACountOrAListOrAutomatic) {
  EXPECT_EQ(parallel::describe(parse_with({}).head_chunks), "auto");
  EXPECT_EQ(parallel::describe(parse_with({"--head-chunks", "auto"}).head_chunks), "auto");
  EXPECT_EQ(parse_with({"--head-chunks", "4"}).head_chunks.count, 4);
  const parallel::HeadChunkWish listed = parse_with({"--head_chunks=1+18+1"}).head_chunks;
  EXPECT_FALSE(listed.count);
  EXPECT_EQ(listed.sizes, (std::vector<std::int64_t>{1, 18, 1}));
  EXPECT_EQ(message_with({"--head-chunks", "0"}), "option --head-chunks: 0 is not between 1 and 65536");
  EXPECT_EQ(message_with({"--head-chunks", "3+0"}), "option --head-chunks: 0 is not between 1 and 65536");
  EXPECT_EQ(message_with({"--head-chunks", "3+"}), "option --head-chunks: '' is not a whole number");
  EXPECT_EQ(message_with({"--head-chunks", "3,17"}), "option --head-chunks: '3,17' is not a whole number");
}

TEST(Options, AnOptionalValueIsNotTheManifest) {
  EXPECT_EQ(parse({"--ckpt-dir", "c", "--dit-fsdp", "rows.csv"}).manifest, "rows.csv");
  const launch::Options options = parse({"--ckpt-dir", "c", "--dit-fsdp", "off", "rows.csv"});
  EXPECT_EQ(options.manifest, "rows.csv");
  EXPECT_EQ(options.dit_fsdp, launch::Switch::off);
  EXPECT_EQ(parse_with({"--dit-fsdp=auto"}).dit_fsdp, launch::Switch::automatic);
  EXPECT_EQ(message_with({"--dit-fsdp=maybe"}), "option --dit-fsdp: 'maybe' is not one of on, off, auto");
}

TEST(Options, ValuesKeepTheirUnderscoresAndDashes) {
  const launch::Options options =
      parse({"--ckpt-dir", "my_ckpt", "--prompt", "- a cat_with a hat", "--negative-prompt=--no_blur"});
  EXPECT_EQ(options.ckpt_dir, "my_ckpt");
  EXPECT_EQ(options.prompt, "- a cat_with a hat");
  EXPECT_EQ(options.request.negative_prompt, "--no_blur");
  EXPECT_EQ(parse_with({"--negative-prompt="}).request.negative_prompt, "");
}

TEST(Options, UnknownNamesGetTheNearestOne) {
  EXPECT_EQ(message_with({"--frame-nun", "5"}), "unknown option '--frame-nun'; did you mean --frame-num?");
  EXPECT_EQ(message_with({"--sample_step_s=5"}),
            "unknown option '--sample_step_s'; did you mean --sample-steps?");
  EXPECT_EQ(message_with({"--xyzzyxyzzy"}), "unknown option '--xyzzyxyzzy'; --help lists all");
  EXPECT_THAT(message_with({"-np", "2"}), HasSubstr("unknown option '-np'"));
  EXPECT_THAT(message_with({std::string(1 << 16, '-')}), HasSubstr("--help lists all"));
}

TEST(Options, AbbreviationsWhileUnambiguous) {
  EXPECT_EQ(parse_with({"--frame", "5"}).request.frame_num, 5);
  EXPECT_EQ(message_with({"--sample-s", "5"}),
            "option '--sample-s' is ambiguous: --sample-steps, --sample-shift, --sample-solver");
}

TEST(Options, TheLastOfTwoCountsButNotOfTwoManifests) {
  EXPECT_EQ(parse_with({"--size", "64*64", "--size", "96*64"}).request.size, (PixelSize{96, 64}));
  const auto expect_two = [](const std::string& message) {
    EXPECT_THAT(message, HasSubstr("two manifests are given: 'other.csv' and 'rows.csv'"));
  };
  expect_two(message_with({"other.csv"}));
  expect_two(message_of({"--ckpt-dir", "ckpt", "other.csv", "rows.csv"}));
  expect_two(message_of({"--ckpt-dir", "ckpt", "--manifest", "other.csv", "rows.csv"}));
  expect_two(message_of({"--ckpt-dir", "ckpt", "--manifest", "other.csv", "--manifest=rows.csv"}));
  EXPECT_EQ(parse({"--ckpt-dir", "ckpt", "-"}).manifest, "-") << "standard input";
}

TEST(Options, BadValuesNameTheOption) {
  EXPECT_EQ(message_with({"--frame_num", "80"}),
            "option --frame-num: 80 is not of the form 4n+1; nearest: 77 or 81");
  EXPECT_THAT(message_with({"--size", "830*480"}), HasSubstr("option --size: 830*480 is not supported"));
  EXPECT_EQ(message_with({"--sample-steps", "0"}), "option --sample-steps: 0 is not between 1 and 1000");
  EXPECT_EQ(message_with({"--sample-shift", "x"}), "option --sample-shift: 'x' is not a number");
  EXPECT_EQ(message_with({"--fps", "0"}), "option --fps: 0 is not between 1 and 240");
  EXPECT_EQ(message_with({"--crf", "52"}), "option --crf: 52 is not between 0 and 51");
  EXPECT_EQ(message_with({"--codec", "lib;x"}),
            "option --codec: 'lib;x' is not the name of an encoder, for example libx264");
  EXPECT_EQ(message_with({"--task", "s2v-14B"}),
            "option --task: 's2v-14B' is not one of i2v-A14B, t2v-A14B, t2v-1.3B, t2v-14B, i2v-14B, ti2v-5B");
  EXPECT_EQ(message_with({"--device", "tpu"}), "option --device: 'tpu' is not one of auto, cuda, cpu");
  EXPECT_EQ(message_with({"--precision", "fp64"}),
            "option --precision: 'fp64' is not one of bf16, fp16, fp32, fast");
  EXPECT_EQ(message_with({"--objective", "speed"}),
            "option --objective: 'speed' is not one of latency, throughput");
  EXPECT_EQ(message_with({"--noise-device", "gpu"}), "option --noise-device: 'gpu' is not one of cpu, cuda");
  EXPECT_EQ(message_with({"--log-level", "loud"}),
            "option --log-level: 'loud' is not one of quiet, normal, verbose");
  EXPECT_EQ(message_with({"--cfg-size", "3"}), "option --cfg-size: 3 is not between 1 and 2");
  EXPECT_EQ(message_with({"--group-size", "0"}), "option --group-size: 0 is not between 1 and 65536");
  EXPECT_EQ(message_with({"--collective-timeout", "0"}),
            "option --collective-timeout: 0 is not between 1 and 86400");
  EXPECT_EQ(message_with({"--output-dir="}), "option --output-dir: the path is empty");
  EXPECT_EQ(message_with({"--output-dir", ""}), "option --output-dir: the path is empty");
  EXPECT_EQ(message_with({"--dry-run=perhaps"}), "option --dry-run: 'perhaps' is neither on nor off");
}

TEST(Options, AMissingValueIsSaidSo) {
  EXPECT_EQ(message_of({"rows.csv", "--size"}), "option --size needs a value: --size=W*H");
  EXPECT_EQ(message_of({"--size", "--ckpt-dir", "c"}), "option --size needs a value: --size=W*H");
}

TEST(Options, SingleRequest) {
  const launch::Options options = parse({"--ckpt-dir", "c", "--prompt", "a cat", "--image", "cat.png"});
  EXPECT_FALSE(options.manifest);
  EXPECT_EQ(message_with({"--prompt", "a cat"}),
            "a manifest (rows.csv) and a single request (--image, --prompt, --save-file) exclude each other");
  EXPECT_EQ(message_of({"--ckpt-dir", "c", "--image", "cat.png"}),
            "--image is given without --prompt; a single request needs its text");
  EXPECT_EQ(message_of({"--ckpt-dir", "c", "--prompt", "x", "--save-file", "a.avi"}),
            "option --save-file: 'a.avi' does not end in .mp4");
}

TEST(Options, Shard) {
  EXPECT_FALSE(parse_with({}).shard);
  EXPECT_EQ(parse_with({"--shard", "2/6"}).shard, (manifest::Shard{.index = 2, .count = 6}));
  EXPECT_EQ(parse_with({"--shard=0/1"}).shard, (manifest::Shard{.index = 0, .count = 1}));
  EXPECT_EQ(message_with({"--shard", "3"}), "option --shard: '3' is not a shard; write I/N, for example 0/8");
  EXPECT_EQ(message_with({"--shard", "4/4"}),
            "option --shard: there is no shard 4 of 4: they count from 0, the last one is 3/4");
  EXPECT_EQ(message_with({"--shard", "0/0"}), "option --shard: 0 is not between 1 and 1000000");
  EXPECT_EQ(message_with({"--shard", "-1/4"}), "option --shard: -1 is not between 0 and 1000000");
  EXPECT_EQ(message_with({"--shard", "/4"}), "option --shard: '' is not a whole number");
  EXPECT_EQ(message_with({"--shard", "1/2/3"}), "option --shard: '2/3' is not a whole number");
  EXPECT_EQ(message_of({"--ckpt-dir", "c", "--prompt", "x", "--image", "a.png", "--shard", "0/2"}),
            "--shard selects rows of a manifest, and no manifest is given; leave --shard out");
}

TEST(Options, WhatARunNeeds) {
  EXPECT_EQ(
      message_of({"rows.csv"}),
      "--ckpt-dir is missing: the folder of the checkpoint. Parts that lie apart are named by --model (or "
      "--high-noise-model and --low-noise-model), --vae, --text-encoder, --tokenizer");
  EXPECT_EQ(parse({"--plan", "--task", "i2v-A14B", "--gpus", "2"}).task, "i2v-A14B");
  EXPECT_THAT(message_of({"--plan", "--gpus", "2"}), HasSubstr("or without a checkpoint --task"));
  EXPECT_EQ(
      message_of({"--task", "i2v-A14B", "rows.csv"}),
      "--ckpt-dir is missing: the folder of the checkpoint. Parts that lie apart are named by --model (or "
      "--high-noise-model and --low-noise-model), --vae, --text-encoder, --tokenizer");
  EXPECT_EQ(message_of({"--ckpt-dir", "c"}),
            "there is nothing to make: give a manifest, or --prompt with --image; see --help");
}

TEST(Options, NotBuiltYetIsRefusedByName) {
  for (const NotBuilt& missing : not_built_table()) {
    const std::string argument =
        "--" + std::string(missing.name) + "=" + std::string(missing.value.empty() ? "1" : missing.value);
    EXPECT_THAT(message_with({argument}), HasSubstr("option --" + std::string(missing.name)));
    EXPECT_THAT(message_with({argument}), HasSubstr("not built yet"));
  }
  EXPECT_EQ(message_with({"--precision", "fast"}),
            "option --precision: the value fast is not built yet in this version; leave it out");
  EXPECT_EQ(parse_with({"--offload-model", "auto"}).offload_model, launch::Offload::automatic);
  EXPECT_EQ(parse_with({"--offload-model", "disk"}).offload_model, launch::Offload::disk);
}

/// `exact` is the word for bf16 of versions up to 0.2.0, on the command line and in files for --config.
TEST(Options, ExactIsAnotherWordForBf16) {
  const test::TempDir dir;
  std::ofstream(dir / "run.cfg") << "precision = exact\n";
  EXPECT_EQ(parse_with({"--precision", "bf16"}).precision, launch::Precision::bf16);
  EXPECT_EQ(parse_with({"--precision", "exact"}).precision, launch::Precision::bf16);
  EXPECT_EQ(parse_with({"--precision", "fp16"}).precision, launch::Precision::fp16);
  EXPECT_EQ(parse_with({"--config", (dir / "run.cfg").string()}).precision, launch::Precision::bf16);
}

TEST(Options, TextsAreUtf8AndPathsKnowTheHomeFolder) {
  const auto message = [](const std::string& option, const std::string& value) {
    return message_of({"--ckpt-dir", "ckpt", "--image", "a.png", "--prompt", "cat", option, value});
  };
  EXPECT_THAT(message("--prompt", "caf\xe9"),
              HasSubstr("option --prompt: the text is not UTF-8: byte 0xe9 at byte 4"));
  EXPECT_THAT(message("--negative-prompt", "\xff"),
              HasSubstr("option --negative-prompt: the text is not UTF-8"));
  EXPECT_THAT(message("--image", "https://x/a.png"), HasSubstr("download it first"));
  EXPECT_THAT(message("--save-file", "a.avi"), HasSubstr("does not end in .mp4"));
  const char* home = std::getenv("HOME");
  ASSERT_NE(home, nullptr);
  const launch::Options options =
      parse({"--ckpt-dir=~/ckpt", "--image", "a.png", "--prompt", "cat", "--save-file", "a.MP4"});
  EXPECT_EQ(options.ckpt_dir, std::filesystem::path(home) / "ckpt");
  EXPECT_EQ(options.save_file, "a.mp4");
}

TEST(Options, StoppingAndGoingOn) {
  const launch::Options options =
      parse_options(std::vector<std::string>{"--ckpt-dir", "c", "m.csv", "--time-limit", "2:00:00",
                                             "--checkpoint-interval", "0.5", "--join-groups", "off",
                                             "--run-record", "r.json"})
          .options;
  EXPECT_EQ(options.time_limit_s, 7200);
  EXPECT_EQ(options.checkpoint_interval_s, 30);
  EXPECT_FALSE(options.join_groups);
  EXPECT_EQ(options.run_record, "r.json");
}

TEST(Options, DraftsAndTheirContinuation) {
  EXPECT_FALSE(launch::draft_of(parse_with({})).is_wanted());
  EXPECT_EQ(launch::draft_of(parse_with({"--stop-after-step", "8", "--draft"})),
            (Draft{.after_step = 8, .frames = 0, .shrink = 1}));
  EXPECT_EQ(launch::draft_of(parse_with(
                {"--stop-after-step", "8", "--draft", "--draft-frames", "33", "--draft-scale", "1/4"})),
            (Draft{.after_step = 8, .frames = 33, .shrink = 4}));
  EXPECT_EQ(parse_with({"--continue", "pick.txt"}).continue_with, "pick.txt");
  for (const Arguments& wrong :
       {Arguments{"--draft"}, Arguments{"--stop-after-step", "8"}, Arguments{"--draft-frames", "9"},
        Arguments{"--draft-scale", "1/2"}, Arguments{"--stop-after-step", "0", "--draft"},
        Arguments{"--stop-after-step", "8", "--draft", "--draft-scale", "2"},
        Arguments{"--stop-after-step", "8", "--draft", "--draft-frames", "10"},
        Arguments{"--stop-after-step", "8", "--draft", "--save-latents"}}) {
    EXPECT_THROW(parse_with(wrong), UsageError) << wrong.front();
  }
  EXPECT_THROW(parse_options(Arguments{"--ckpt-dir", "c", "--prompt", "p", "--continue", "pick.txt"}),
               UsageError);
}

TEST(Options, MaxHoursIsTheTimeLimitInHours) {
  EXPECT_EQ(parse_with({"--max-hours", "1.5"}).time_limit_s, 5400);
  EXPECT_EQ(parse_with({"--max_hours=24"}).time_limit_s, 86400);
  EXPECT_FALSE(parse_with({}).time_limit_s);
  for (const char* wrong : {"0", "-1", "1e-9", "nan", "inf", "one", "01:00:00"}) {
    EXPECT_THROW(parse_with({"--max-hours", wrong}), UsageError) << wrong;
  }
  EXPECT_EQ(message_with({"--max-hours", "1", "--time-limit", "1:00:00"}),
            "--time-limit and --max-hours are two ways to give one limit; give one of them");
}

}  // namespace
}  // namespace wan::apps
