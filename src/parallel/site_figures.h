#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/video_geometry.h"
#include "parallel/weight_placement.h"
#include "wan/request.h"

namespace wan::parallel {

struct PlanInput;

/// A figure that a site measured itself.
struct SiteFigure {
  double seconds = 0;
  int starts = 1;  ///< of which it is the median
};

/// A site's figures of one layout at one size of video.
struct SiteVideo {
  int cfg = 1;
  int ulysses = 1;
  NetworkPlacement transformers = {};
  PixelSize size;
  int frame_num = 81;
  bool guided = true;
  SiteFigure step;
  std::optional<SiteFigure> text = {};
  std::optional<SiteFigure> encode = {};  ///< of the autoencoder
  std::optional<SiteFigure> decode = {};
  std::optional<SiteFigure> write = {};  ///< H.264
};

/// A site's own figures of one GPU, model and precision: those that a plan can use in place of this
/// repository's.
struct SiteFigures {
  std::string file;
  std::string gpu;  ///< the driver's name; "cpu"
  std::vector<SiteVideo> videos = {};
};

/// Seconds for a plan, and where they come from.
struct SitedSeconds {
  double seconds = 0;
  std::string source;  ///< "measured, 6 starts"; "scaled from 832*480, 81 frames, 6 starts"
};

/// The site's figures for a layout that it measured: same cfg, ulysses, guidance and placement of weights.
/// Taken from the size that was planned, else scaled from the nearest: steps by operations, the rest by
/// pixels. `write` comes from any layout, because the host does it. Empty: not measured.
struct SiteItem {
  std::optional<SitedSeconds> step;
  std::optional<SitedSeconds> text;
  std::optional<SitedSeconds> encode;
  std::optional<SitedSeconds> decode;
  std::optional<SitedSeconds> write;
};
SiteItem site_item(const SiteFigures& site, const PlanInput& input);

}  // namespace wan::parallel
