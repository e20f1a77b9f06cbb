#include "trace/trace_writer.h"

#include <utility>

#include "trace/table.h"

namespace wan::trace {
namespace {

// A column grows by chunks. This size is small enough for a run of one item and large enough for a run of
// days.
constexpr hsize_t step_chunk_rows = 256;
constexpr hsize_t item_chunk_rows = 32;
constexpr hsize_t phase_chunk_rows = 128;
constexpr hsize_t sample_chunk_rows = 512;

struct StepRow {
  std::int32_t item;
  const StepEvent* event;
};

struct PhaseRow {
  std::int32_t item;
  const PhaseEvent* event;
};

/// The experts' names as an HDF5 enumeration.
Handle expert_type(const std::filesystem::path& path) {
  constexpr std::string_view doing = "make the type of column 'expert'";
  Handle type(checked(H5Tenum_create(H5T_NATIVE_INT8), doing, path), H5Tclose);
  for (const Expert expert : {Expert::high_noise, Expert::low_noise}) {
    const auto value = static_cast<std::int8_t>(expert);
    checked(H5Tenum_insert(type.get(), std::string(to_string(expert)).c_str(), &value), doing, path);
  }
  return type;
}

Table<ItemRecord> make_items(const Handle& file, const std::filesystem::path& path) {
  Table<ItemRecord> table(file, path, "items", item_chunk_rows);
  table.add_column("id", "1", [](const ItemRecord& item) { return item.id.c_str(); });
  table.add_column("seed", "1", [](const ItemRecord& item) { return item.seed; });
  table.add_column("width", "pixel", [](const ItemRecord& item) { return std::int32_t{item.size.width}; });
  table.add_column("height", "pixel", [](const ItemRecord& item) { return std::int32_t{item.size.height}; });
  table.add_column("frames", "1", [](const ItemRecord& item) { return std::int32_t{item.frames}; });
  table.add_column("steps", "1", [](const ItemRecord& item) { return std::int32_t{item.steps}; });
  table.add_column("layout", "1", [](const ItemRecord& item) { return item.layout.c_str(); });
  return table;
}

/// Adds a column that holds one member of StepEvent.
template <typename Value>
void add_member(Table<StepRow>& table, const std::string& name, const std::string& units,
                Value StepEvent::*member) {
  table.add_column(name, units, [member](const StepRow& row) { return row.event->*member; });
}

void add_part_columns(Table<StepRow>& table, const std::string& prefix,
                      std::array<double, part_count> StepEvent::*seconds) {
  for (std::size_t part = 0; part < part_count; ++part) {
    const std::string name = fmt::format("{}_{}_s", prefix, to_string(static_cast<Part>(part)));
    table.add_column(name, "s", [=](const StepRow& row) { return (row.event->*seconds)[part]; });
  }
}

Table<StepRow> make_steps(const Handle& file, const std::filesystem::path& path) {
  Table<StepRow> table(file, path, "steps", step_chunk_rows);
  table.add_column("item", "1", [](const StepRow& row) { return row.item; });
  add_member(table, "world_rank", "1", &StepEvent::world_rank);
  add_member(table, "group_rank", "1", &StepEvent::group_rank);
  add_member(table, "step", "1", &StepEvent::step);
  add_member(table, "timestep", "1", &StepEvent::timestep);
  const auto expert = [](const StepRow& row) { return static_cast<std::int8_t>(row.event->expert); };
  table.add_column("expert", "1", expert, expert_type(path));
  add_member(table, "start_s", "s", &StepEvent::start_s);
  add_member(table, "wall_s", "s", &StepEvent::wall_s);
  add_part_columns(table, "wall", &StepEvent::part_wall_s);
  add_part_columns(table, "gpu", &StepEvent::part_gpu_s);
  add_member(table, "sent_bytes", "byte", &StepEvent::sent_bytes);
  add_member(table, "vram_allocated_bytes", "byte", &StepEvent::vram_allocated_bytes);
  add_member(table, "vram_reserved_bytes", "byte", &StepEvent::vram_reserved_bytes);
  add_member(table, "vram_peak_bytes", "byte", &StepEvent::vram_peak_bytes);
  return table;
}

Table<PhaseRow> make_phases(const Handle& file, const std::filesystem::path& path) {
  Table<PhaseRow> table(file, path, "phases", phase_chunk_rows);
  table.add_column("item", "1", [](const PhaseRow& row) { return row.item; });
  table.add_column("phase", "1", [](const PhaseRow& row) { return row.event->phase.c_str(); });
  table.add_column("start_s", "s", [](const PhaseRow& row) { return row.event->start_s; });
  table.add_column("wall_s", "s", [](const PhaseRow& row) { return row.event->wall_s; });
  table.add_column("sent_bytes", "byte", [](const PhaseRow& row) { return row.event->sent_bytes; });
  return table;
}

Table<DeviceSample> make_samples(const Handle& file, const std::filesystem::path& path) {
  Table<DeviceSample> table(file, path, "samples", sample_chunk_rows);
  table.add_column("time_s", "s", [](const DeviceSample& sample) { return sample.time_s; });
  table.add_column("rank", "1", [](const DeviceSample& sample) { return sample.rank; });
  table.add_column("vram_used_bytes", "byte",
                   [](const DeviceSample& sample) { return sample.vram_used_bytes; });
  table.add_column("power_w", "W", [](const DeviceSample& sample) { return sample.power_w; });
  table.add_column("temperature_c", "degC", [](const DeviceSample& sample) { return sample.temperature_c; });
  return table;
}

}  // namespace

struct TraceWriter::Tables {
  explicit Tables(std::filesystem::path file_path)
      : path(std::move(file_path)),
        file(create_file(path)),
        items(make_items(file, path)),
        steps(make_steps(file, path)),
        phases(make_phases(file, path)),
        samples(make_samples(file, path)) {}

  std::filesystem::path path;
  Handle file;
  Table<ItemRecord> items;
  Table<StepRow> steps;
  Table<PhaseRow> phases;
  Table<DeviceSample> samples;
  std::int32_t item = -1;  ///< row of /items that new rows refer to
};

TraceWriter::TraceWriter(const std::filesystem::path& path, const RunAttributes& attributes)
    : tables_(std::make_unique<Tables>(path)) {
  for (const auto& attribute : attributes) {
    std::visit([&](const auto& value) { set_attribute(tables_->file, path, attribute.first, value); },
               attribute.second);
  }
  flush();
}

TraceWriter::~TraceWriter() = default;

void TraceWriter::begin_item(const ItemRecord& item) {
  tables_->items.append(std::span(&item, 1));
  ++tables_->item;
  flush();
}

void TraceWriter::add_steps(std::span<const StepEvent> events) {
  std::vector<StepRow> rows;
  rows.reserve(events.size());
  for (const StepEvent& event : events) rows.push_back({.item = tables_->item, .event = &event});
  tables_->steps.append(rows);
  flush();
}

void TraceWriter::add_phase(const PhaseEvent& event) {
  const PhaseRow row{.item = tables_->item, .event = &event};
  tables_->phases.append(std::span(&row, 1));
  flush();
}

void TraceWriter::add_samples(std::span<const DeviceSample> samples) {
  tables_->samples.append(samples);
  flush();
}

void TraceWriter::flush() {
  checked(H5Fflush(tables_->file.get(), H5F_SCOPE_LOCAL), "write out the trace", tables_->path);
}

}  // namespace wan::trace
