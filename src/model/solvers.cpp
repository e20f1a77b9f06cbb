#include "wan/solvers.h"

#include <algorithm>
#include <array>

namespace wan {
namespace {

#define WAN_SOLVER_ROW(value, name, first_sigma, description) \
  SolverRow{Solver::value, name, first_sigma, description},
constexpr std::array rows{WAN_SOLVER_TABLE(WAN_SOLVER_ROW)};
#undef WAN_SOLVER_ROW

}  // namespace

std::span<const SolverRow> solver_rows() { return rows; }

std::string_view to_string(Solver solver) { return rows.at(static_cast<std::size_t>(solver)).name; }

std::optional<Solver> parse_solver(std::string_view text) {
  const auto* const found = std::ranges::find(rows, text, &SolverRow::name);
  if (found == rows.end()) return std::nullopt;
  return found->solver;
}

std::string describe_solvers() {
  std::string text;
  for (const SolverRow& row : rows) {
    text += text.empty() ? "" : ", ";
    text.append(row.name).append(" (").append(row.description).append(")");
  }
  return text;
}

}  // namespace wan
