#include "shoal/base/log.h"

#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <stdlib.h>

#include "shoal/base/error.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;

class LogFile : public testing::Test {
  protected:
    LogFile() {
        std::string name = testing::TempDir() + "shoal-log-XXXXXX";
        folder_ = ::mkdtemp(name.data());
    }
    ~LogFile() override { fs::remove_all(folder_); }
    fs::path file() const { return folder_ / "peer.log"; }
    std::string text() const {
        std::ifstream stream(file());
        return {std::istreambuf_iterator<char>(stream), {}};
    }

  private:
    fs::path folder_;
};

TEST_F(LogFile, HoldsLevelNameAndTextOfEachLine) {
    const Log log = Log::to_file(file(), "net", LogLevel::info);
    log.info("a peer joined");
    log.error("a peer {} left %s");  // not a format
    EXPECT_NE(text().find("info    [net] a peer joined\n"), std::string::npos) << text();
    EXPECT_NE(text().find("error   [net] a peer {} left %s\n"), std::string::npos) << text();
}

TEST_F(LogFile, LeavesOutWhatIsBelowItsLevel) {
    const Log log = Log::to_file(file(), "net", LogLevel::warning);
    log.debug("one");
    log.info("two");
    log.write(LogLevel::off, "three");
    EXPECT_EQ(text(), "");
    log.warning("four");
    EXPECT_NE(text().find("warning [net] four"), std::string::npos);
}

TEST_F(LogFile, GrowsAndIsNotReplaced) {
    Log::to_file(file(), "first", LogLevel::info).info("a");
    Log::to_file(file(), "second", LogLevel::info).info("b");
    EXPECT_NE(text().find("[first] a"), std::string::npos);
    EXPECT_NE(text().find("[second] b"), std::string::npos);
}

TEST_F(LogFile, SaysSoWhenItCannotBeOpened) {
    std::ofstream(file()) << "a file where a folder is needed";
    try {
        Log::to_file(file() / "peer.log", "net", LogLevel::info);
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::system);
    }
}

TEST(Log, DiscardsEverythingByDefault) {
    testing::internal::CaptureStderr();
    Log().error("nobody reads this");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Log, WritesToStandardError) {
    testing::internal::CaptureStderr();
    Log::to_stderr("run", LogLevel::debug).debug("hello");
    EXPECT_NE(testing::internal::GetCapturedStderr().find("[run] hello"), std::string::npos);
}

TEST(LogLevel, IsReadFromItsWord) {
    EXPECT_EQ(log_level_from("debug"), LogLevel::debug);
    EXPECT_EQ(log_level_from("off"), LogLevel::off);
    for (const char* word : {"", "Debug", "verbose", "info "})
        EXPECT_THROW(log_level_from(word), Error) << word;
}

}  // namespace
}  // namespace shoal
