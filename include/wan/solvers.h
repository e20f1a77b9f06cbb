#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace wan {

/// The table of solvers. A row: value of Solver, name for users, first noise level of its schedule (model.md
/// 6.1), description for --help. All else that names the solvers follows from these rows. A row needs its
/// make_VALUE() in src/sample/solvers (see src/sample/solver.h).
// UniPC's first noise level is an fp32 value, and all later arithmetic is in double (model.md 6.1).
#define WAN_SOLVER_TABLE(ROW)                                                      \
  ROW(unipc, "unipc", 1.0F - 1.0F / 1000, "UniPC of order 2, the official choice") \
  ROW(dpmpp, "dpm++", 1.0F, "DPM-Solver++(2M)")                                    \
  ROW(euler, "euler", 1.0F, "the explicit Euler method, for distilled models")

#define WAN_SOLVER_VALUE(value, name, first_sigma, description) value,
enum class Solver { WAN_SOLVER_TABLE(WAN_SOLVER_VALUE) };
#undef WAN_SOLVER_VALUE

/// A row of the table.
struct SolverRow {
  Solver solver;
  std::string_view name;
  double first_sigma;
  std::string_view description;
};

/// All rows, in the order of Solver's values.
std::span<const SolverRow> solver_rows();

/// The solver's name for users: "unipc", "dpm++", ...
std::string_view to_string(Solver solver);
/// The solver of that name; nothing if there is none.
std::optional<Solver> parse_solver(std::string_view text);
/// The names with their descriptions, for --help.
std::string describe_solvers();

}  // namespace wan
