#include "apps/run_places.h"

#include "core/check.h"
#include "core/place.h"
#include "launch/option_names.h"
#include "media/video.h"
#include "store/output_folder.h"
#include "store/stop_file.h"
#include "trace/trace_index.h"

namespace wan::apps {
namespace {

/// A run does not make the record's folder.
void check_run_record(const std::filesystem::path& record) {
  const std::filesystem::path folder = std::filesystem::absolute(record).parent_path();
  std::error_code unreachable;
  if (!std::filesystem::is_directory(folder, unreachable)) {
    fail<UsageError>("--run-record {}: there is no folder {}; make it or choose another place",
                     record.string(), folder.string());
  }
  store::require_writable_place(folder, "--run-record");
  if (const std::string problem = in_the_way_of_file(record, "--run-record"); !problem.empty())
    fail<UsageError>("{}", problem);
}

}  // namespace

std::filesystem::path trace_index(const launch::Options& options) {
  return std::filesystem::absolute(options.trace.value_or(options.output_dir / "trace.h5"));
}

store::OutputProbe check_run_places(const launch::Options& options) {
  store::require_no_stop_file(options.output_dir);
  media::require_video_codec(options.codec);
  launch::hinting_at("--save-latents", [&] { media::require_video_quality(options.codec, options.crf); });
  store::OutputProbe probe =
      store::probe_output_folder(options.output_dir, options.save_file ? "--save-file" : "--output-dir");
  if (!probe.problem.empty()) fail<UsageError>("{}", probe.problem);
  const std::filesystem::path index = trace_index(options);
  if (options.trace) store::require_writable_place(index.parent_path(), "--trace");
  if (const std::string problem = trace::in_the_way_of_trace(index); !problem.empty())
    fail<UsageError>("{}, or choose another place with --trace", problem);
  if (options.run_record) check_run_record(*options.run_record);
  return probe;
}

}  // namespace wan::apps
