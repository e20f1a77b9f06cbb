#include "apps/acceptance.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/step_reporter.h"

namespace wan::apps {
namespace {

AcceptanceRow phase_row(const BenchResult& result, const char* name, double measured, double expected) {
  return {.name = name,
          .unit = "s",
          .measured = measured,
          .expected = expected,
          .most = expected * (1 + accepted_excess),
          .is_judged = result.is_of_measured_gpu};
}

std::string verdict(const AcceptanceRow& row) {
  if (!row.is_judged) return "-";
  return row.has_failed() ? "FAIL" : "OK";
}

}  // namespace

bool Acceptance::is_accepted() const {
  return std::ranges::none_of(rows, [](const AcceptanceRow& row) { return row.has_failed(); });
}

launch::Options acceptance_options(const launch::Options& given) {
  launch::Options options;
  options.device = launch::Device::cuda;
  options.log_level = given.log_level;
  options.bench.steps = 4;
  return options;
}

Acceptance judge(const BenchResult& result) {
  Acceptance acceptance{
      .machine =
          fmt::format("{} x {}, {}, {}", result.gpus, result.gpu_model, result.precision, result.layout),
      .figures = result.figures,
      .rows = {phase_row(result, "step", engine::median(result.step_s), result.expected_step_s)}};
  if (std::isfinite(result.vae_encode_s)) {
    acceptance.rows.push_back(
        phase_row(result, "encode the image", result.vae_encode_s, result.expected.encode_s));
  }
  acceptance.rows.push_back(
      phase_row(result, "decode the video", result.vae_decode_s, result.expected.decode_s));
  if (result.rank_computing_s.size() > 1) {
    const double middle = engine::median(result.rank_computing_s);
    const double slowest = *std::ranges::max_element(result.rank_computing_s);
    acceptance.rows.push_back({.name = "slowest rank / median",
                               .unit = "",
                               .measured = slowest / middle,
                               .expected = 1,
                               .most = 1 + accepted_rank_excess});
  }
  return acceptance;
}

std::string acceptance_table(const Acceptance& acceptance) {
  std::string text = fmt::format("{}\n", acceptance.machine);
  text += fmt::format("  {:<22}{:>11}{:>11}{:>11}  {}\n", "", "measured", "expected", "at most", "verdict");
  bool has_unjudged = false;
  for (const AcceptanceRow& row : acceptance.rows) {
    const std::string name = row.unit.empty() ? row.name : fmt::format("{} [{}]", row.name, row.unit);
    text += fmt::format("  {:<22}{:>11.3f}{:>11.3f}{:>11.3f}  {}\n", name, row.measured, row.expected,
                        row.most, verdict(row));
    has_unjudged = has_unjudged || !row.is_judged;
  }
  text += fmt::format("expected times: {}\n", acceptance.figures);
  if (has_unjudged) text += "no times of this GPU were measured before: they are shown, and not judged\n";
  return text +
         (acceptance.is_accepted()
              ? "accepted\n"
              : "NOT accepted: look at clocks, power limits, temperature and other programs on the GPUs; "
                "wan_doctor without --accept checks the rest of the machine\n");
}

std::string acceptance_json(const Acceptance& acceptance) {
  const auto number = [](double value) {
    return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
  };
  nlohmann::json rows = nlohmann::json::array();
  for (const AcceptanceRow& row : acceptance.rows) {
    rows.push_back({{"name", row.name},
                    {"unit", row.unit},
                    {"measured", number(row.measured)},
                    {"expected", number(row.expected)},
                    {"most", number(row.most)},
                    {"verdict", verdict(row)}});
  }
  const nlohmann::json object{{"accepted", acceptance.is_accepted()},
                              {"machine", acceptance.machine},
                              {"figures", acceptance.figures},
                              {"rows", rows}};
  return object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace wan::apps
