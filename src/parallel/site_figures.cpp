#include "parallel/site_figures.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "parallel/plan.h"

namespace wan::parallel {
namespace {

kernels::TokenGrid tokens_of(const SiteVideo& video, const PlanInput& input) {
  return input.geometry.token_grid(video.frame_num, video.size);
}

bool has_layout(const SiteVideo& video, const PlanInput& input) {
  return video.cfg == input.grid.cfg && video.ulysses == input.grid.ulysses && video.guided == input.guided &&
         video.transformers == input.placement.transformers;
}

double pixels(const PlanInput& input, const kernels::TokenGrid& tokens) {
  return static_cast<double>(input.geometry.frame_pixels(tokens) * input.geometry.frame_num(tokens));
}

/// The operations of a step, each kind with its share of the machine's time.
double step_work(PlanInput input, const kernels::TokenGrid& tokens) {
  input.tokens = tokens;
  return make_plan(input).step_s;
}

/// How far a video's size is from the planned one; 0: the same tokens.
double distance(const SiteVideo& video, const PlanInput& input) {
  const auto tokens = static_cast<double>(tokens_of(video, input).tokens());
  return std::abs(std::log(tokens / static_cast<double>(input.tokens.tokens())));
}

using Figure = std::optional<SiteFigure> SiteVideo::*;

/// The nearest video that has the figure; null if none has.
const SiteVideo* nearest(const SiteFigures& site, const PlanInput& input, Figure figure, bool any_layout) {
  const SiteVideo* found = nullptr;
  for (const SiteVideo& video : site.videos) {
    if (figure != nullptr && !(video.*figure)) continue;
    if (!any_layout && !has_layout(video, input)) continue;
    const auto is_nearer = [&](const SiteVideo& other) {
      const double own = distance(video, input);
      const double others = distance(other, input);
      const auto rank = [&](const SiteVideo& one) {
        return std::pair(has_layout(one, input), figure == nullptr ? one.step.starts : (one.*figure)->starts);
      };
      return own < others || (own == others && rank(video) > rank(other));
    };
    if (found == nullptr || is_nearer(*found)) found = &video;
  }
  return found;
}

SitedSeconds sited(const SiteFigure& figure, const SiteVideo& video, const PlanInput& input, double ratio) {
  const std::string starts = fmt::format("{} start{}", figure.starts, figure.starts == 1 ? "" : "s");
  if (tokens_of(video, input) == input.tokens)
    return {.seconds = figure.seconds, .source = fmt::format("measured, {}", starts)};
  return {.seconds = figure.seconds * ratio,
          .source = fmt::format("scaled from {}*{}, {} frames, {}", video.size.width, video.size.height,
                                video.frame_num, starts)};
}

/// A figure that grows with the pixels of all frames.
std::optional<SitedSeconds> by_pixels(const SiteFigures& site, const PlanInput& input, Figure figure,
                                      bool any_layout = false) {
  const SiteVideo* video = nearest(site, input, figure, any_layout);
  if (video == nullptr) return std::nullopt;
  const double ratio = pixels(input, input.tokens) / pixels(input, tokens_of(*video, input));
  return sited(*(video->*figure), *video, input, ratio);
}

}  // namespace

SiteItem site_item(const SiteFigures& site, const PlanInput& input) {
  SiteItem item;
  if (const SiteVideo* video = nearest(site, input, nullptr, false)) {
    const double ratio = step_work(input, input.tokens) / step_work(input, tokens_of(*video, input));
    item.step = sited(video->step, *video, input, ratio);
  }
  if (const SiteVideo* video = nearest(site, input, &SiteVideo::text, false))
    item.text = sited(*video->text, *video, input, 1);
  item.encode = by_pixels(site, input, &SiteVideo::encode);
  item.decode = by_pixels(site, input, &SiteVideo::decode);
  item.write = by_pixels(site, input, &SiteVideo::write, true);
  return item;
}

}  // namespace wan::parallel
