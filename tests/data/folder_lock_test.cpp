#include "data/folder_lock.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

namespace temper {
namespace {

class FolderLockTest : public testing::Test {
 protected:
  FolderLockTest() { std::filesystem::create_directory(dir_); }
  ~FolderLockTest() override { std::filesystem::remove_all(dir_); }

  std::string dir_ = testing::TempDir() + "folder-lock-" + std::to_string(::getpid());
};

// flock() counts open files, so a second one of this process is refused as another process's is.
TEST_F(FolderLockTest, OneWriterAFolder) {
  FolderLock first(dir_, "--run.dir");
  try {
    const FolderLock second(dir_, "--run.dir", /*patience_s=*/0.2);
    ADD_FAILURE() << "two hold it";
  } catch (const c10::ValueError& error) {
    EXPECT_EQ(std::string(error.what_without_backtrace()).find("--run.dir " + dir_ + ": another"),
              0);
  }
  FolderLock moved(std::move(first));
  EXPECT_THROW(FolderLock(dir_, "--run.dir", 0), c10::ValueError);
  moved = FolderLock();
  const FolderLock third(dir_, "--run.dir", 0);
}

TEST_F(FolderLockTest, EndsWithItsProcess) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const FolderLock lock(dir_, "--run.dir");
    const bool told = ::write(ready[1], "x", 1) == 1;
    for (; told;) ::pause();
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_THROW(FolderLock(dir_, "--run.dir", 0), c10::ValueError);
  ::kill(child, SIGKILL);
  const FolderLock lock(dir_, "--run.dir");  // waits for it
  ::waitpid(child, nullptr, 0);
}

// A folder that cannot be opened is for others to complain of.
TEST_F(FolderLockTest, NoFolderNoLock) {
  const FolderLock lock(dir_ + "/nowhere", "--run.dir", 0);
  const FolderLock again(dir_ + "/nowhere", "--run.dir", 0);
}

}  // namespace
}  // namespace temper
