// Bootstrap addresses are dialled for ever, and each has its cause.
#include "shoal/run/bootstrap.h"

#include <gtest/gtest.h>

#include "shoal/sim/world.h"

namespace shoal::run {
namespace {

using namespace std::chrono_literals;
using State = BootstrapAddress::State;

class BootstrapTest : public testing::Test {
  protected:
    Bootstrap make(std::vector<net::Endpoint> endpoints) {
        return {*us_.network, *us_.clock, Random(1), std::move(endpoints), Log()};
    }
    net::Endpoint at(const sim::Peer& peer) { return world_.internet().endpoint(peer.id); }
    sim::World world_{1};
    sim::Peer us_ = world_.add_peer();
    sim::Peer other_ = world_.add_peer();
};

TEST_F(BootstrapTest, ConnectsToAnAddressThatAnswers) {
    Bootstrap bootstrap = make({at(other_)});
    EXPECT_FALSE(bootstrap.met());
    bootstrap.start();
    world_.simulation().run(bootstrap.until_met(), 5s);
    EXPECT_EQ(bootstrap.addresses()[0].state, State::connected);
    EXPECT_EQ(bootstrap.addresses()[0].peer, other_.id);
    world_.simulation().run(bootstrap.stop(), 5s);
}

TEST_F(BootstrapTest, IsMetAtOnceWithoutAddresses) {
    Bootstrap bootstrap = make({});
    EXPECT_TRUE(bootstrap.met());
}

TEST_F(BootstrapTest, GoesOnDiallingUntilSomebodyListens) {
    world_.internet().partition({{us_.id}, {other_.id}});
    Bootstrap bootstrap = make({at(other_)});
    bootstrap.start();
    world_.simulation().run(bootstrap.until_tried(), 60s);
    EXPECT_FALSE(bootstrap.met());
    EXPECT_EQ(bootstrap.addresses()[0].state, State::failed);
    EXPECT_NE(bootstrap.causes().find(at(other_).to_string()), std::string::npos);
    world_.simulation().run_for(10min);
    EXPECT_FALSE(bootstrap.met());
    world_.internet().heal();
    world_.simulation().run(bootstrap.until_met(), 60s);
    EXPECT_TRUE(bootstrap.met());
    world_.simulation().run(bootstrap.stop(), 30s);
}

TEST_F(BootstrapTest, DialsAgainSoonAfterAConnectionIsLost) {
    Bootstrap bootstrap = make({at(other_)});
    bootstrap.start();
    world_.simulation().run(bootstrap.until_met(), 5s);
    world_.internet().cut(us_.id, other_.id);
    world_.simulation().run_for(10ms);
    EXPECT_FALSE(bootstrap.met());
    world_.simulation().run(bootstrap.until_met(), 1s);
    EXPECT_TRUE(us_.network->is_connected(other_.id));
    world_.simulation().run(bootstrap.stop(), 5s);
}

TEST_F(BootstrapTest, OneAnswerAmongManyIsEnough) {
    const net::Endpoint nobody = net::Endpoint::parse("203.0.113.7:1");
    Bootstrap bootstrap = make({nobody, at(other_)});
    bootstrap.start();
    world_.simulation().run(bootstrap.until_met(), 5s);
    EXPECT_EQ(bootstrap.addresses()[1].state, State::connected);
    world_.simulation().run(bootstrap.stop(), 30s);
}

}  // namespace
}  // namespace shoal::run
