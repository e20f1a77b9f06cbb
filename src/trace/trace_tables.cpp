#include "trace/trace_tables.h"

#include <fmt/ranges.h>

#include <numeric>
#include <utility>

#include "trace/image_driver.h"
#include "trace/image_file.h"
#include "trace/table.h"

namespace wan::trace {
namespace {

// A column grows by chunks. These sizes are small enough for a run of one item and large enough for a run of
// days.
constexpr hsize_t step_chunk_rows = 256;
constexpr hsize_t item_chunk_rows = 32;
constexpr hsize_t phase_chunk_rows = 128;
constexpr hsize_t sample_chunk_rows = 512;
constexpr hsize_t few_rows = 16;

/// The experts' names as an HDF5 enumeration.
Handle expert_type(const std::filesystem::path& path) {
  constexpr std::string_view doing = "make the type of column 'expert'";
  Handle type(checked(H5Tenum_create(H5T_NATIVE_INT8), doing, path), H5Tclose);
  for (const Expert expert : {Expert::high_noise, Expert::low_noise, Expert::single}) {
    const auto value = static_cast<std::int8_t>(expert);
    checked(H5Tenum_insert(type.get(), std::string(to_string(expert)).c_str(), &value), doing, path);
  }
  return type;
}

/// Adds a column that holds one number of the row.
template <typename Row, typename Value>
void add_number(Table<Row>& table, const std::string& name, const std::string& units, Value Row::*member) {
  table.add_column(name, units, [member](const Row& row) { return row.*member; });
}

/// Adds a column that holds one number of the row's event.
template <typename Row, typename Event, typename Value>
void add_of_event(Table<Row>& table, const std::string& name, const std::string& units,
                  Value Event::*member) {
  table.add_column(name, units, [member](const Row& row) { return row.event.*member; });
}

/// Adds a column that holds one text of the row.
template <typename Row>
void add_text(Table<Row>& table, const std::string& name, std::string Row::*member) {
  table.add_column(name, "1", [member](const Row& row) { return (row.*member).c_str(); });
}

template <typename Row, typename Event>
void add_text_of_event(Table<Row>& table, const std::string& name, std::string Event::*member) {
  table.add_column(name, "1", [member](const Row& row) { return (row.event.*member).c_str(); });
}

Table<RankRecord> make_ranks(const Handle& file, const std::filesystem::path& path) {
  Table<RankRecord> table(file, path, "ranks", few_rows);
  add_number(table, "world_rank", "1", &RankRecord::world_rank);
  add_number(table, "group_rank", "1", &RankRecord::group_rank);
  add_text(table, "host", &RankRecord::host);
  add_text(table, "gpu_model", &RankRecord::gpu_model);
  add_text(table, "gpu_uuid", &RankRecord::gpu_uuid);
  add_text(table, "pci_bus", &RankRecord::pci_bus);
  add_number(table, "power_limit_w", "W", &RankRecord::power_limit_w);
  add_number(table, "numa_node", "1", &RankRecord::numa_node);
  return table;
}

Table<ClockRecord> make_clocks(const Handle& file, const std::filesystem::path& path) {
  Table<ClockRecord> table(file, path, "clocks", few_rows);
  add_number(table, "world_rank", "1", &ClockRecord::world_rank);
  add_number(table, "time_s", "s", &ClockRecord::time_s);
  add_number(table, "offset_s", "s", &ClockRecord::offset_s);
  add_number(table, "uncertainty_s", "s", &ClockRecord::uncertainty_s);
  return table;
}

Table<ItemRecord> make_items(const Handle& file, const std::filesystem::path& path) {
  Table<ItemRecord> table(file, path, "items", item_chunk_rows);
  add_text(table, "id", &ItemRecord::id);
  add_number(table, "seed", "1", &ItemRecord::seed);
  table.add_column("width", "pixel", [](const ItemRecord& item) { return std::int32_t{item.size.width}; });
  table.add_column("height", "pixel", [](const ItemRecord& item) { return std::int32_t{item.size.height}; });
  add_number(table, "frames", "1", &ItemRecord::frames);
  add_number(table, "steps", "1", &ItemRecord::steps);
  add_text(table, "layout", &ItemRecord::layout);
  return table;
}

std::string ranks_text(const StretchEvent& event) {
  std::vector<std::int32_t> ranks(static_cast<std::size_t>(event.ranks));
  std::iota(ranks.begin(), ranks.end(), event.first_rank);
  return fmt::format("{}", fmt::join(ranks, ","));
}

/// A row of /stretches with the text that HDF5 reads from.
struct StretchRow : StretchRecord {
  std::string ranks;
};

Table<StretchRow> make_stretches(const Handle& file, const std::filesystem::path& path) {
  Table<StretchRow> table(file, path, "stretches", item_chunk_rows);
  table.add_column("item", "1", [](const StretchRow& row) { return row.item; });
  add_of_event(table, "first_step", "1", &StretchEvent::first_step);
  add_of_event(table, "team_width", "1", &StretchEvent::team_width);
  add_text(table, "ranks", &StretchRow::ranks);
  add_text_of_event(table, "layout", &StretchEvent::layout);
  add_text_of_event(table, "placement", &StretchEvent::placement);
  add_text_of_event(table, "precision", &StretchEvent::precision);
  add_of_event(table, "passes", "1", &StretchEvent::passes);
  add_text_of_event(table, "guidance", &StretchEvent::guidance);
  add_text_of_event(table, "solver", &StretchEvent::solver);
  add_of_event(table, "shift", "1", &StretchEvent::shift);
  add_text_of_event(table, "attention", &StretchEvent::attention);
  add_of_event(table, "head_chunks", "1", &StretchEvent::head_chunks);
  add_of_event(table, "start_s", "s", &StretchEvent::start_s);
  return table;
}

Table<ItemEndRecord> make_item_ends(const Handle& file, const std::filesystem::path& path) {
  Table<ItemEndRecord> table(file, path, "item_ends", item_chunk_rows);
  add_number(table, "item", "1", &ItemEndRecord::item);
  add_number(table, "time_s", "s", &ItemEndRecord::time_s);
  add_text(table, "outcome", &ItemEndRecord::outcome);
  add_number(table, "steps_done", "1", &ItemEndRecord::steps_done);
  return table;
}

void add_part_columns(Table<StepRecord>& table, const std::string& prefix,
                      std::array<double, part_count> StepEvent::*seconds) {
  for (std::size_t part = 0; part < part_count; ++part) {
    const std::string name = fmt::format("{}_{}_s", prefix, to_string(static_cast<Part>(part)));
    table.add_column(name, "s", [=](const StepRecord& row) { return (row.event.*seconds)[part]; });
  }
}

Table<StepRecord> make_steps(const Handle& file, const std::filesystem::path& path) {
  Table<StepRecord> table(file, path, "steps", step_chunk_rows);
  add_number(table, "item", "1", &StepRecord::item);
  add_number(table, "stretch", "1", &StepRecord::stretch);
  add_number(table, "warm_up", "1", &StepRecord::warm_up);
  add_of_event(table, "world_rank", "1", &StepEvent::world_rank);
  add_of_event(table, "group_rank", "1", &StepEvent::group_rank);
  add_of_event(table, "step", "1", &StepEvent::step);
  add_of_event(table, "timestep", "1", &StepEvent::timestep);
  const auto expert = [](const StepRecord& row) { return static_cast<std::int8_t>(row.event.expert); };
  table.add_column("expert", "1", expert, expert_type(path));
  add_of_event(table, "start_s", "s", &StepEvent::start_s);
  add_of_event(table, "wall_s", "s", &StepEvent::wall_s);
  add_of_event(table, "latent_digest", "1", &StepEvent::latent_digest);
  add_part_columns(table, "wall", &StepEvent::part_wall_s);
  add_part_columns(table, "gpu", &StepEvent::part_gpu_s);
  add_of_event(table, "sent_bytes", "byte", &StepEvent::sent_bytes);
  add_of_event(table, "vram_allocated_bytes", "byte", &StepEvent::vram_allocated_bytes);
  add_of_event(table, "vram_reserved_bytes", "byte", &StepEvent::vram_reserved_bytes);
  add_of_event(table, "vram_peak_bytes", "byte", &StepEvent::vram_peak_bytes);
  return table;
}

Table<PhaseRecord> make_phases(const Handle& file, const std::filesystem::path& path) {
  Table<PhaseRecord> table(file, path, "phases", phase_chunk_rows);
  add_number(table, "item", "1", &PhaseRecord::item);
  add_text_of_event(table, "phase", &PhaseEvent::phase);
  add_of_event(table, "start_s", "s", &PhaseEvent::start_s);
  add_of_event(table, "wall_s", "s", &PhaseEvent::wall_s);
  add_of_event(table, "sent_bytes", "byte", &PhaseEvent::sent_bytes);
  add_of_event(table, "world_rank", "1", &PhaseEvent::world_rank);
  table.add_column("background", "1", [](const PhaseRecord& row) {
    return static_cast<std::int8_t>(row.event.is_background ? 1 : 0);
  });
  add_of_event(table, "merged_bytes", "byte", &PhaseEvent::merged_bytes);
  return table;
}

Table<DeviceSample> make_samples(const Handle& file, const std::filesystem::path& path) {
  Table<DeviceSample> table(file, path, "samples", sample_chunk_rows);
  add_number(table, "time_s", "s", &DeviceSample::time_s);
  add_number(table, "rank", "1", &DeviceSample::rank);
  add_number(table, "vram_used_bytes", "byte", &DeviceSample::vram_used_bytes);
  add_number(table, "power_w", "W", &DeviceSample::power_w);
  add_number(table, "temperature_c", "degC", &DeviceSample::temperature_c);
  add_number(table, "sm_clock_mhz", "MHz", &DeviceSample::sm_clock_mhz);
  add_number(table, "throttle_reasons", "1", &DeviceSample::throttle_reasons);
  return table;
}

Table<DropRecord> make_drops(const Handle& file, const std::filesystem::path& path) {
  Table<DropRecord> table(file, path, "drops", few_rows);
  add_number(table, "time_s", "s", &DropRecord::time_s);
  add_text(table, "table", &DropRecord::table);
  add_number(table, "rows", "1", &DropRecord::rows);
  return table;
}

Table<AccountRecord> make_account(const Handle& file, const std::filesystem::path& path) {
  Table<AccountRecord> table(file, path, "account", few_rows);
  add_number(table, "world_rank", "1", &AccountRecord::world_rank);
  add_text(table, "name", &AccountRecord::name);
  add_number(table, "calls", "1", &AccountRecord::calls);
  add_number(table, "wall_s", "s", &AccountRecord::wall_s);
  return table;
}

Table<NoteRecord> make_notes(const Handle& file, const std::filesystem::path& path) {
  Table<NoteRecord> table(file, path, "notes", few_rows);
  add_text(table, "kind", &NoteRecord::kind);
  add_text(table, "text", &NoteRecord::text);
  add_number(table, "share", "1", &NoteRecord::share);
  add_number(table, "gain", "1", &NoteRecord::gain);
  return table;
}

}  // namespace

struct TraceTables::Tables {
  explicit Tables(std::filesystem::path file_path)
      : path(std::move(file_path)),
        image(path),
        file(create_in_image(image, path)),
        ranks(make_ranks(file, path)),
        clocks(make_clocks(file, path)),
        items(make_items(file, path)),
        stretches(make_stretches(file, path)),
        item_ends(make_item_ends(file, path)),
        steps(make_steps(file, path)),
        phases(make_phases(file, path)),
        samples(make_samples(file, path)),
        drops(make_drops(file, path)),
        account(make_account(file, path)),
        notes(make_notes(file, path)) {}

  std::filesystem::path path;
  ImageFile image;
  Handle file;
  Table<RankRecord> ranks;
  Table<ClockRecord> clocks;
  Table<ItemRecord> items;
  Table<StretchRow> stretches;
  Table<ItemEndRecord> item_ends;
  Table<StepRecord> steps;
  Table<PhaseRecord> phases;
  Table<DeviceSample> samples;
  Table<DropRecord> drops;
  Table<AccountRecord> account;
  Table<NoteRecord> notes;
};

TraceTables::TraceTables(const std::filesystem::path& path, const RunAttributes& attributes)
    : tables_(std::make_unique<Tables>(path)) {
  append({.attributes = attributes});
  publish();
}

TraceTables::~TraceTables() = default;

void TraceTables::append(const TraceRows& rows) {
  tables_->ranks.append(rows.ranks);
  tables_->clocks.append(rows.clocks);
  tables_->items.append(rows.items);
  std::vector<StretchRow> stretches;
  stretches.reserve(rows.stretches.size());
  for (const StretchRecord& record : rows.stretches) stretches.push_back({record, ranks_text(record.event)});
  tables_->stretches.append(stretches);
  tables_->item_ends.append(rows.item_ends);
  tables_->steps.append(rows.steps);
  tables_->phases.append(rows.phases);
  tables_->samples.append(rows.samples);
  tables_->drops.append(rows.drops);
  tables_->account.append(rows.account);
  tables_->notes.append(rows.notes);
  for (const auto& [name, value] : rows.attributes) {
    std::visit(
        [&, &key = name](const auto& typed) { set_attribute(tables_->file, tables_->path, key, typed); },
        value);
  }
}

void TraceTables::publish() {
  checked(H5Fflush(tables_->file.get(), H5F_SCOPE_LOCAL), "write out the trace", tables_->path);
  tables_->image.publish();
}

}  // namespace wan::trace
