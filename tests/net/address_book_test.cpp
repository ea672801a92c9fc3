// Peers whose addresses are known beforehand find each other without a directory.
#include "shoal/net/address_book.h"

#include "net/net_testing.h"

#include "shoal/base/run_until.h"

namespace shoal::net {
namespace {

using namespace testing;

TEST(AddressBook, finds_whom_it_has_and_nobody_else) {
    World world;
    const Endpoint endpoint = Endpoint::parse("127.0.0.1:7");
    const AddressResolver find = resolver_of({{World::id(1), endpoint}});
    const std::vector<Endpoint> found = run_until_ended(world.context, find(World::id(1)));
    EXPECT_EQ(found, std::vector<Endpoint>{endpoint});
    EXPECT_TRUE(run_until_ended(world.context, find(World::id(2))).empty());
}

}  // namespace
}  // namespace shoal::net
