// A peer's folder belongs to one process at a time.
#include "shoal/run/folder.h"

#include "run/temporary_folder.h"

#include <gtest/gtest.h>
#include <optional>
#include <unistd.h>

#include "shoal/base/error.h"

namespace shoal::run {
namespace {

TEST(PeerFolder, IsLockedForASecondUserWhoLearnsWhoHoldsIt) {
    const TemporaryFolder folder;
    std::optional<PeerFolder> first(folder / "peer");
    EXPECT_EQ(first->metrics_file(), folder / "peer/metrics.jsonl");
    try {
        const PeerFolder second(folder / "peer");
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::bad_input);
        EXPECT_NE(std::string(error.what()).find("process " + std::to_string(::getpid())), std::string::npos);
    }
    first.reset();
    EXPECT_NO_THROW(PeerFolder(folder / "peer"));
}

TEST(PeerFolder, ThatCannotBeMadeIsAnErrorNamingIt) {
    const TemporaryFolder folder;
    write_whole(folder / "file", "");
    EXPECT_THROW(PeerFolder(folder / "file/peer"), Error);
}

TEST(PeerFolder, MovesWithItsLock) {
    const TemporaryFolder folder;
    PeerFolder first(folder / "peer");
    const PeerFolder moved(std::move(first));
    EXPECT_THROW(PeerFolder(folder / "peer"), Error);
}

}  // namespace
}  // namespace shoal::run
