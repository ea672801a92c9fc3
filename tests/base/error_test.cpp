#include "shoal/base/error.h"

#include <gtest/gtest.h>
#include <set>

namespace shoal {
namespace {

TEST(Error, NamesThePeerInItsMessageWhereThereIsOne) {
    const Error with_peer(ErrorKind::timed_out, "no answer within 5 s", "0a1b2c3d");
    EXPECT_STREQ(with_peer.what(), "peer 0a1b2c3d: no answer within 5 s");
    EXPECT_EQ(with_peer.peer(), "0a1b2c3d");
    EXPECT_EQ(with_peer.kind(), ErrorKind::timed_out);

    const Error without_peer(ErrorKind::system, "the disk is full");
    EXPECT_STREQ(without_peer.what(), "the disk is full");
    EXPECT_EQ(without_peer.peer(), "");
}

TEST(ErrorKind, HasAWordOfItsOwnForEveryKind) {
    std::set<std::string_view> words;
    const int last = static_cast<int>(ErrorKind::system);
    for (int kind = 0; kind <= last; ++kind) words.insert(to_string(static_cast<ErrorKind>(kind)));
    EXPECT_EQ(words.size(), static_cast<std::size_t>(last + 1));
    EXPECT_FALSE(words.contains("unknown"));
    EXPECT_EQ(to_string(ErrorKind::timed_out), "timed_out");
}

}  // namespace
}  // namespace shoal
