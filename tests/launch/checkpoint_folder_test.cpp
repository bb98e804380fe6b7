// What stands under step-N is whole, whenever the job was killed and whatever happened to the disk;
// which checkpoints stay.
#include "launch/checkpoint_folder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <random>
#include <thread>

#include "tests/launch/launcher.h"
#include "tests/launch/small_checkpoint.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_in(const std::string& dir) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(dir))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

size_t temporary_in(const std::string& dir) {
  size_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(dir))
    count += entry.path().filename().string().find(".tmp") != std::string::npos;
  return count;
}

TEST(CheckpointFolderTest, TheNewestAndTheBestStay) {
  const ScratchDir scratch;
  const std::string dir = scratch / "checkpoints";
  const std::vector<std::optional<double>> nll = {3.0, 2.0, 2.5, {}, 2.2};
  for (int64_t step = 1; step <= 5; ++step)
    save_small_checkpoint(dir, step, /*keep=*/2, nll[static_cast<size_t>(step - 1)]);
  EXPECT_EQ(names_in(dir), (std::vector<std::string>{"best", "latest", "step-00000002",
                                                     "step-00000004", "step-00000005"}));
  EXPECT_EQ(fs::read_symlink(dir + "/latest"), "step-00000005");
  EXPECT_EQ(fs::read_symlink(dir + "/best"), "step-00000002");
  for (const int64_t step : {2, 4, 5}) expect_small_checkpoint(dir, step);
  // One that beats it takes its place, and the old best goes.
  save_small_checkpoint(dir, 6, 2, 1.9);
  EXPECT_EQ(checkpoint_steps(dir), (std::vector<int64_t>{5, 6}));
  EXPECT_EQ(fs::read_symlink(dir + "/best"), "step-00000006");
  save_small_checkpoint(dir, 7, /*keep=*/0);
  save_small_checkpoint(dir, 8, /*keep=*/0);
  EXPECT_EQ(checkpoint_steps(dir), (std::vector<int64_t>{5, 6, 7, 8}));
}

TEST(CheckpointFolderTest, GoingBackRemovesLaterOnesAndTheLinksFollow) {
  const ScratchDir scratch;
  const std::string dir = scratch / "checkpoints";
  const std::vector<double> nll = {3.0, 2.0, 2.5, 1.5, 1.7};
  for (int64_t step = 1; step <= 5; ++step)
    save_small_checkpoint(dir, step, /*keep=*/0, nll[static_cast<size_t>(step - 1)]);
  EXPECT_EQ(remove_later_checkpoints(dir, "step-00000005"), 0);
  EXPECT_EQ(fs::read_symlink(dir + "/best"), "step-00000004");
  EXPECT_EQ(remove_later_checkpoints(dir, "step-00000003"), 2);
  EXPECT_EQ(checkpoint_steps(dir), (std::vector<int64_t>{1, 2, 3}));
  EXPECT_EQ(fs::read_symlink(dir + "/latest"), "step-00000003");
  EXPECT_EQ(fs::read_symlink(dir + "/best"), "step-00000002");
  for (const int64_t step : {1, 2, 3}) expect_small_checkpoint(dir, step);
  EXPECT_TRUE(has_checkpoints(dir));
  EXPECT_FALSE(has_checkpoints(scratch / "nowhere"));
}

TEST(CheckpointFolderTest, AStepThatIsDoneAgainReplacesTheOldOneAlone) {
  const ScratchDir scratch;
  const std::string dir = scratch / "checkpoints";
  for (int64_t step = 1; step <= 4; ++step) save_small_checkpoint(dir, step, 0);
  write_text(dir + "/step-00000003/config.json", "damaged");
  save_small_checkpoint(dir, 3, /*keep=*/1);
  expect_small_checkpoint(dir, 3);
  // The one behind it is of the earlier attempt: no reason to drop this one, nor dropped itself.
  EXPECT_EQ(checkpoint_steps(dir), (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(temporary_in(dir), 0u);
}

// Show: SIGKILL at 50 random points of a save. A child saves one checkpoint after the other and
// says which are published; a moment later it is killed.
TEST(CheckpointFolderTest, KilledAtFiftyRandomPointsNothingIsHalf) {
  const ScratchDir scratch;
  const std::string dir = scratch / "checkpoints";
  std::mt19937 random(7);
  int during = 0;
  int64_t first = 1;
  for (int kill_number = 0; kill_number < 50; ++kill_number) {
    int channel[2];
    ASSERT_EQ(pipe(channel), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(channel[0]);
      for (int64_t step = first;; ++step) {
        save_small_checkpoint(dir, step, /*keep=*/2);
        if (write(channel[1], &step, sizeof step) != sizeof step) _exit(1);
      }
    }
    close(channel[1]);
    // After the first one, so that there is something to lose.
    int64_t published = 0;
    ASSERT_EQ(read(channel[0], &published, sizeof published), ssize_t{sizeof published});
    std::this_thread::sleep_for(
        std::chrono::microseconds(std::uniform_int_distribution<int>(0, 250'000)(random)));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    while (read(channel[0], &published, sizeof published) == ssize_t{sizeof published}) {
    }
    close(channel[0]);

    during += temporary_in(dir) > 0;
    const std::vector<int64_t> steps = checkpoint_steps(dir);
    ASSERT_FALSE(steps.empty());
    // What was published is there, or what came after it: at most the save that was cut is lost.
    EXPECT_GE(steps.back(), published);
    EXPECT_LE(steps.back(), published + 1);
    for (const int64_t step : steps) expect_small_checkpoint(dir, step);
    mend_checkpoints(dir);
    EXPECT_EQ(temporary_in(dir), 0u);
    EXPECT_EQ(fs::read_symlink(dir + "/latest"), checkpoint_name(steps.back()));
    first = steps.back() + 1;
  }
  std::printf("  50 kills, %d of them while files were being written or removed; step %lld\n",
              during, static_cast<long long>(first - 1));
  EXPECT_GE(during, 25);
}

/// Five checkpoints, the third of the lowest NLL, with links as `latest` and `best` say; empty:
/// none.
void plant(const std::string& dir, const std::string& latest, const std::string& best) {
  const std::vector<double> nll = {3.0, 2.5, 1.5, 2.0, 1.7};
  for (int64_t step = 1; step <= 5; ++step)
    save_small_checkpoint(dir, step, /*keep=*/0, nll[static_cast<size_t>(step - 1)]);
  for (const auto& [name, target] : {std::pair{"latest", latest}, {"best", best}}) {
    const std::string link = dir + "/" + name;
    fs::remove(link);
    if (!target.empty()) fs::create_symlink(target, link);
  }
}

void expect_links(const std::string& dir, int64_t latest, int64_t best) {
  EXPECT_EQ(fs::read_symlink(dir + "/latest"), checkpoint_name(latest));
  EXPECT_EQ(fs::read_symlink(dir + "/best"), checkpoint_name(best));
}

TEST(CheckpointFolderTest, LinksThatAKilledJobLeftBehindAreMended) {
  struct Planted {
    const char *latest, *best;
  };
  for (const Planted& links : {Planted{"step-00000004", "step-00000002"},  // killed before them
                               Planted{"step-00000009", "step-00000009"},  // what is gone
                               Planted{"", ""},                            // removed, to be set
                               Planted{"step-00000003.tmp", "elsewhere"}}) {
    const ScratchDir scratch;
    const std::string dir = scratch / "checkpoints";
    for (const std::string& folder : {dir + "/teacher", dir}) {
      plant(folder, links.latest, links.best);
      fs::create_symlink("step-00000005", folder + "/latest.tmp");
      fs::create_symlink("nowhere", folder + "/best.tmp");
    }
    mend_checkpoints(dir);
    EXPECT_EQ(temporary_in(dir), 0u);
    for (const std::string& folder : {dir + "/teacher", dir}) expect_links(folder, 5, 3);
  }
}

TEST(CheckpointFolderTest, LinksAreMendedToWhatIsWholeOrGo) {
  const ScratchDir scratch;
  const std::string dir = scratch / "checkpoints";
  plant(dir, "step-00000005", "step-00000003");
  fs::resize_file(dir + "/step-00000005/config.json", 3);
  fs::remove(dir + "/step-00000003/manifest.json");
  mend_checkpoints(dir);
  expect_links(dir, 4, 4);
  for (int64_t step = 1; step <= 5; ++step)
    fs::remove(dir + "/" + checkpoint_name(step) + "/manifest.json");
  mend_checkpoints(dir);
  EXPECT_FALSE(fs::exists(fs::symlink_status(dir + "/latest")));
  EXPECT_FALSE(fs::exists(fs::symlink_status(dir + "/best")));
  // Somebody's own file, or a copy of the run in which links are no links any more.
  write_text(dir + "/latest", "mine");
  save_small_checkpoint(dir + "/other", 1, 0);
  fs::remove_all(dir + "/step-00000001");
  fs::rename(dir + "/other/step-00000001", dir + "/step-00000001");
  mend_checkpoints(dir);
  EXPECT_EQ(read_text(dir + "/latest"), "mine");
  mend_checkpoints(scratch / "nowhere");
  EXPECT_FALSE(fs::exists(scratch / "nowhere"));
}

// Without an exchange of names, which not every file system has, there are two renames.
TEST(CheckpointFolderTest, ACheckpointThatWasAboutToBeReplacedIsPutBack) {
  const ScratchDir scratch;
  const std::string dir = scratch / "checkpoints";
  for (int64_t step = 1; step <= 3; ++step) save_small_checkpoint(dir, step, 0);
  const auto name = [&](int64_t step) { return dir + "/" + checkpoint_name(step); };
  fs::rename(name(3), name(3) + ".old.tmp");     // cut here
  fs::create_directories(name(3) + ".tmp");      // the new one
  fs::copy(name(1), name(2) + ".old.tmp");       // cut after both
  fs::create_directories(name(7) + ".old.tmp");  // cut while it was removed
  mend_checkpoints(dir);
  EXPECT_EQ(names_in(dir), (std::vector<std::string>{"latest", "step-00000001", "step-00000002",
                                                     "step-00000003"}));
  for (int64_t step = 1; step <= 3; ++step) expect_small_checkpoint(dir, step);
  EXPECT_EQ(fs::read_symlink(dir + "/latest"), "step-00000003");
}

/// Lowers the size that a file may have, as long as it lives: write() then fails as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  sighandler_t handler_;
};

TEST(CheckpointFolderTest, AWriteThatFailsNamesPathAndBytesAndHarmsNothing) {
  const ScratchDir scratch;
  const std::string dir = scratch / "checkpoints";
  save_small_checkpoint(dir, 1, 0);
  std::string message;
  {
    const FileSizeLimit limit(20'000);
    try {
      save_small_checkpoint(dir, 2, 0);
    } catch (const c10::Error& error) {
      message = error.what_without_backtrace();
    }
  }
  EXPECT_NE(message.find("cannot write "), std::string::npos) << message;
  EXPECT_NE(message.find(" bytes to " + dir +
                         "/step-00000002.tmp/model-00001-of-00002.safetensors: "
                         "File too large"),
            std::string::npos)
      << message;
  EXPECT_EQ(checkpoint_steps(dir), std::vector<int64_t>{1});
  expect_small_checkpoint(dir, 1);
  remove_temporary_checkpoint(dir, 2);
  EXPECT_EQ(temporary_in(dir), 0u);
}

TEST(CheckpointFolderTest, AnotherRunsCheckpointsGoAndOtherFilesStay) {
  const ScratchDir scratch;
  const std::string dir = scratch / "checkpoints";
  save_small_checkpoint(dir, 1, 0, 1.0);
  save_small_checkpoint(dir + "/teacher", 2, 0);
  fs::create_directories(dir + "/step-00000009.tmp");
  write_text(dir + "/notes.txt", "mine");
  write_text(dir + "/step-by-step.txt", "mine, too");
  remove_checkpoints(dir);
  EXPECT_EQ(names_in(dir), (std::vector<std::string>{"notes.txt", "step-by-step.txt"}));
}

TEST(CheckpointManifestTest, KeepsEveryField) {
  const ScratchDir scratch;
  CheckpointManifest manifest = small_manifest(12);
  manifest.teacher = "t";
  manifest.weights = "w";
  manifest.teachers = 3;
  manifest.sharded = true;
  manifest.nll = 0.1;
  manifest.totals = {{"seconds", 1.5}};
  manifest.files["a"] = {5, std::string(32, 'a')};
  write_text(scratch / kManifestFile, manifest_text(manifest));
  const CheckpointManifest read = read_manifest(scratch.path());
  EXPECT_EQ(manifest_text(read), manifest_text(manifest));
  EXPECT_EQ(read.files, manifest.files);
  EXPECT_EQ(read.nll, 0.1);
}

TEST(CheckpointManifestTest, PathsThatLeaveTheFolderAreRefused) {
  const ScratchDir scratch;
  for (const char* name : {"../config.ini", "/etc/passwd", "a/b", "", ".hidden", ".."}) {
    CheckpointManifest manifest = small_manifest(1);
    manifest.files[name] = {5, std::string(32, 'a')};
    write_text(scratch / kManifestFile, manifest_text(manifest));
    EXPECT_THROW(read_manifest(scratch.path()), c10::ValueError) << name;
  }
}

}  // namespace
}  // namespace temper
