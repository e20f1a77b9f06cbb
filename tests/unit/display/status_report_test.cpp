#include "display/status_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/file.h"
#include "store/batch_record.h"
#include "store/batch_status.h"
#include "support/temp_dir.h"

namespace wan::display {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

/// A batch of one row, which is done, of a manifest that lies beside the output folder.
class EditedManifest : public ::testing::Test {
 protected:
  EditedManifest() {
    std::ofstream(manifest_) << "image,prompt\na.png,A cat\n";
    std::ofstream(out_.path() / "a.mp4") << "video";
    std::ofstream(out_.path() / "a.json")
        << R"({"status": "done", "manifest": "m.csv", "ended": "2025-11-03T10:10:00Z", "seconds": 60,)"
           R"( "outputs": {"video": {"bytes": 5}}, "parameters": {"sample_steps": 4}})";
    store::write_batch_record(out_, {.manifest = manifest_.string(), .rows = 1, .items = {{"a", {}}}});
  }
  store::BatchStatus status() const { return store::read_status(out_.path()); }
  std::string text() const { return status_text(status(), out_.path()); }

  wan::test::TempDir folder_;
  std::filesystem::path manifest_ = folder_ / "m.csv";
  store::OutputFolder out_{folder_ / "out"};
};

TEST_F(EditedManifest, IsNamedAndTheBatchIsNotFinished) {
  EXPECT_THAT(text(), StartsWith(out_.path().string() + ": finished\n"));
  EXPECT_THAT(text(), Not(HasSubstr("has changed")));

  std::ofstream(manifest_, std::ios::app) << "b.png,A dog\n";
  EXPECT_THAT(status().changed_manifests, ElementsAre(store::canonical_manifest(manifest_)));
  EXPECT_THAT(text(), StartsWith(out_.path().string() + ": stopped\n"));
  EXPECT_THAT(text(), HasSubstr("m.csv has changed since its last run"));
  EXPECT_THAT(status_json(status(), out_.path()), HasSubstr(R"("state": "stopped")"));

  // The next run records the rows as they are now.
  store::write_batch_record(out_, {.manifest = manifest_.string(), .rows = 1, .items = {{"a", {}}}});
  EXPECT_THAT(text(), StartsWith(out_.path().string() + ": finished\n"));
}

TEST_F(EditedManifest, OneThatIsGoneOrWasNoFileIsNotCalledChanged) {
  std::filesystem::remove(manifest_);
  EXPECT_THAT(status().changed_manifests, ElementsAre());
  store::write_batch_record(out_, {.manifest = "-", .rows = 1, .items = {{"a", {}}}});
  EXPECT_THAT(text(), StartsWith(out_.path().string() + ": finished\n"));
}

}  // namespace
}  // namespace wan::display
