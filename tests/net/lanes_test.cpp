// A link of several connections, over real sockets: through a relay that counts and breaks them.
#include "net/net_testing.h"

#include <array>
#include <asio/ip/tcp.hpp>
#include <asio/redirect_error.hpp>
#include <asio/write.hpp>

#include "shoal/net/lane_table.h"
#include "shoal/net/memory_pipe.h"

namespace shoal::net {
namespace {

using namespace testing;

/// Stands between a dialler and a peer, and hands on what either says.
class Relay {
  public:
    Relay(const asio::any_io_executor& executor, std::uint16_t target)
        : acceptor_(executor, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
          target_(target),
          tasks_(executor) {
        tasks_.spawn(accept(*this));
    }

    Endpoint endpoint() const {
        Endpoint here;
        here.host = "127.0.0.1";
        here.port = acceptor_.local_endpoint().port();
        return here;
    }
    /// Whether the connection of this number, from 0, is let through; else it is closed at once.
    std::function<bool(std::size_t)> lets_through = [](std::size_t) { return true; };
    std::size_t turned_away = 0;
    /// Bytes from the dialler, by connection.
    std::vector<std::uint64_t> carried;
    void cut(std::size_t connection) {
        std::error_code ignored;
        sockets_[2 * connection]->close(ignored);
        sockets_[2 * connection + 1]->close(ignored);
    }
    /// Whoever dials next is at the end of nothing.
    awaitable<void> stop() {
        std::error_code ignored;
        acceptor_.close(ignored);
        tasks_.cancel();
        co_await tasks_.settle();
    }

  private:
    static awaitable<void> accept(Relay& self) {
        for (;;) {
            auto socket =
                std::make_shared<tcp::socket>(co_await self.acceptor_.async_accept(asio::use_awaitable));
            if (!self.lets_through(self.carried.size() + self.turned_away)) {
                ++self.turned_away;
                continue;
            }
            auto onward = std::make_shared<tcp::socket>(self.acceptor_.get_executor());
            const tcp::endpoint target(asio::ip::address_v4::loopback(), self.target_);
            co_await onward->async_connect(target, asio::use_awaitable);
            self.sockets_.insert(self.sockets_.end(), {socket, onward});
            self.carried.push_back(0);
            self.tasks_.spawn(pump(self, *socket, *onward, self.carried.size() - 1, true));
            self.tasks_.spawn(pump(self, *onward, *socket, self.carried.size() - 1, false));
        }
    }
    static awaitable<void> pump(Relay& self, tcp::socket& from, tcp::socket& to, std::size_t connection,
                                bool counts) {
        Bytes buffer(64 * 1024);
        std::error_code code;
        while (!code) {
            const std::size_t count = co_await from.async_read_some(
                asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, code));
            if (code) break;
            if (counts) self.carried[connection] += count;
            co_await asio::async_write(to, asio::buffer(buffer.data(), count),
                                       asio::redirect_error(asio::use_awaitable, code));
        }
        std::error_code ignored;
        to.shutdown(tcp::socket::shutdown_send, ignored);
    }

    tcp::acceptor acceptor_;
    const std::uint16_t target_;
    std::vector<std::shared_ptr<tcp::socket>> sockets_;
    TaskGroup tasks_;
};

class FarPeers : public ::testing::TestWithParam<Encryption> {
  protected:
    NetworkSettings settings() const {
        NetworkSettings s = World::settings();
        s.encryption = GetParam();
        s.far_round_trip = Duration::zero();  // everybody is far
        s.far_connections = 4;
        return s;
    }
    World world;
};

INSTANTIATE_TEST_SUITE_P(WithAndWithoutEncryption, FarPeers,
                         ::testing::Values(Encryption::tls, Encryption::none),
                         [](const auto& value) { return value.param == Encryption::tls ? "tls" : "plain"; });

/// Sends messages of 1 MiB to the other side's echo and holds what comes back against them.
awaitable<void> exchange_with_echo(Network& network, PeerId peer, std::size_t messages) {
    const StreamPointer stream = co_await network.open(peer, "echo");
    for (std::size_t i = 0; i < messages; ++i) {
        const Bytes payload = pattern(kMaximumPayloadBytes, static_cast<std::uint32_t>(i));
        co_await stream->write(ByteView(), payload);
        const std::optional<Message> back = co_await stream->read();
        EXPECT_TRUE(back && back->payload == payload);
    }
    stream->finish();
}

awaitable<void> echo_stream(StreamPointer stream) {
    for (;;) {
        const std::optional<Message> message = co_await stream->read();
        if (!message) break;
        co_await stream->write(message->control, message->payload);
    }
    stream->finish();
}

TEST_P(FarPeers, are_connected_by_several_connections_that_share_the_bytes_of_one_stream) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    server->serve("echo", echo_stream);
    Relay relay(world.context.get_executor(), listen_port(*server));
    auto task = [](Network& s, Network& c, Relay& r) -> awaitable<void> {
        const PeerId who = co_await c.dial(r.endpoint());
        EXPECT_EQ(who, World::id(1));
        auto connected = [&s] { return s.is_connected(World::id(2)); };
        co_await until(connected);
        co_await exchange_with_echo(c, who, 16);
        EXPECT_EQ(c.connections().size(), 1U);
        EXPECT_EQ(s.connections().size(), 1U);
        EXPECT_EQ(r.carried.size(), 4U);
        for (const std::uint64_t bytes : r.carried) EXPECT_GT(bytes, std::uint64_t{1} << 20);
        EXPECT_GT(c.connections().front().bytes_received, std::uint64_t{16} << 20);
        co_await r.stop();
    };
    world.run(task(*server, *client, relay));
}

TEST_P(FarPeers, say_goodbye_over_all_of_them) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    auto task = [](Network& s, std::shared_ptr<Network> c) -> awaitable<void> {
        co_await c->dial(endpoint_of(s));
        auto connected = [&s] { return s.is_connected(World::id(2)); };
        co_await until(connected);
        std::string cause;
        const auto observer = s.observe([&cause](const PeerId&, bool up, const std::string& why) {
            if (!up) cause = why;
        });
        co_await shut_down(c);
        auto gone = [&s] { return !s.is_connected(World::id(2)); };
        co_await until(gone);
        EXPECT_TRUE(contains(cause, "the peer shuts down")) << cause;
    };
    world.run(task(*server, client));
}

TEST_P(FarPeers, are_lost_when_one_connection_is_cut_and_reached_again_by_new_ones) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    server->serve("echo", echo_stream);
    Relay relay(world.context.get_executor(), listen_port(*server));
    introduce(*client, {{World::id(1), relay.endpoint()}});
    auto task = [](Network& c, Relay& r) -> awaitable<void> {
        const StreamPointer stream = co_await c.open(World::id(1), "echo");
        r.cut(2);
        const Error error = co_await error_of(stream->read());
        EXPECT_EQ(error.kind(), ErrorKind::connection_lost);
        auto gone = [&c] { return !c.is_connected(World::id(1)); };
        co_await until(gone);
        co_await exchange_with_echo(c, World::id(1), 2);
        EXPECT_EQ(r.carried.size(), 8U);
        co_await r.stop();
    };
    world.run(task(*client, relay));
}

TEST_P(FarPeers, are_connected_by_one_connection_where_no_more_are_let_through) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    server->serve("echo", echo_stream);
    Relay relay(world.context.get_executor(), listen_port(*server));
    relay.lets_through = [](std::size_t number) { return number == 0 || number > 3; };
    auto task = [](Network& c, Relay& r) -> awaitable<void> {
        const PeerId who = co_await c.dial(r.endpoint());
        co_await exchange_with_echo(c, who, 2);
        EXPECT_EQ(r.turned_away, 3U);
        EXPECT_EQ(r.carried.size(), 2U);  // the first lane, and then the only one
        co_await r.stop();
    };
    world.run(task(*client, relay));
}

TEST_P(FarPeers, need_no_agreement_on_how_many_connections_make_a_link) {
    NetworkSettings one = settings();
    one.far_connections = 1;
    auto server = world.make(1, one);
    auto client = world.make(2, settings());
    server->serve("echo", echo_stream);
    client->serve("echo", echo_stream);
    auto task = [](Network& s, Network& c) -> awaitable<void> {
        const PeerId who = co_await c.dial(endpoint_of(s));
        co_await exchange_with_echo(c, who, 2);
        co_await exchange_with_echo(s, c.self(), 2);  // over the link that the other has dialled
    };
    world.run(task(*server, *client));
}

/// A connection by hand that says it is one lane of several.
awaitable<Link> dial_lane(Network& server, int key, LaneNumber lane) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    Greeting greeting;
    greeting.instance = 5;
    auto context = std::make_shared<LinkContext>(World::key(key), Encryption::tls, std::move(greeting), 4,
                                                 Duration::zero());
    tcp::socket socket(executor);
    const tcp::endpoint target(asio::ip::address_v4::loopback(), listen_port(server));
    co_await socket.async_connect(target, asio::use_awaitable);
    Link link = co_await link_as_dialler(context, std::move(socket), std::nullopt, lane);
    co_return link;
}

TEST(IncompleteLinks, are_no_connections_and_are_closed_when_they_stay_incomplete) {
    World world;
    NetworkSettings settings = World::settings();
    settings.dial_timeout = 500ms;
    auto server = world.make(1, settings);
    auto task = [](Network& s) -> awaitable<void> {
        const LaneNumber first(7, 0, 2);
        Link lane = co_await dial_lane(s, 2, first);
        const Error error = co_await error_of(lane.pipe->read());
        EXPECT_EQ(error.kind(), ErrorKind::connection_lost);
        EXPECT_FALSE(s.is_connected(World::id(2)));
    };
    world.run(task(*server));
}

TEST(IncompleteLinks, that_nobody_completes_keep_no_other_peer_out) {
    World world;
    auto server = world.make(1);
    NetworkSettings far = World::settings();
    far.far_round_trip = Duration::zero();
    auto client = world.make(3, far);
    server->serve("echo", echo_stream);
    auto task = [](Network& s, Network& c) -> awaitable<void> {
        std::vector<Link> held;
        for (std::uint64_t link = 0; link < LaneTable::kIncompleteLinks + 10; ++link) {
            const LaneNumber number(link, 0, 2);
            Link lane = co_await dial_lane(s, 10 + static_cast<int>(link), number);
            held.push_back(std::move(lane));
        }
        const PeerId who = co_await c.dial(endpoint_of(s));
        co_await exchange_with_echo(c, who, 1);
    };
    world.run(task(*server, *client));
}

class Lanes : public ::testing::Test {
  protected:
    Link lane(int key, LaneNumber number, std::uint64_t instance = 1) {
        auto [here, there] = MemoryPipe::make_pair(world_.context.get_executor());
        others_.push_back(std::move(there));
        Greeting greeting;
        greeting.instance = instance;
        greeting.lane = number;
        return Link(std::move(here), World::id(key), false, Agreement(std::move(greeting), Bytes()));
    }
    World world_;
    std::vector<std::unique_ptr<MemoryPipe>> others_;
    LaneTable table;
};

TEST_F(Lanes, make_a_link_in_whatever_order_they_come) {
    EXPECT_TRUE(table.add(lane(1, LaneNumber(9, 2, 3))).begun);
    const LaneTable::Outcome second = table.add(lane(1, LaneNumber(9, 0, 3)));
    EXPECT_FALSE(second.begun);
    EXPECT_FALSE(second.complete);
    const LaneTable::Outcome last = table.add(lane(1, LaneNumber(9, 1, 3)));
    ASSERT_TRUE(last.complete);
    ASSERT_EQ(last.complete->size(), 3U);
    for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ((*last.complete)[i].agreement.theirs.lane.lane, i);
    EXPECT_EQ(table.incomplete(), 0U);
}

TEST_F(Lanes, of_another_peer_process_or_link_are_not_mixed) {
    table.add(lane(1, LaneNumber(9, 0, 2)));
    EXPECT_FALSE(table.add(lane(2, LaneNumber(9, 1, 2))).complete);
    EXPECT_FALSE(table.add(lane(1, LaneNumber(9, 1, 2), 2)).complete);
    EXPECT_FALSE(table.add(lane(1, LaneNumber(8, 1, 2))).complete);
    EXPECT_EQ(table.incomplete(), 4U);
    EXPECT_TRUE(table.add(lane(1, LaneNumber(9, 1, 2))).complete);
}

TEST_F(Lanes, that_contradict_each_other_are_dropped) {
    table.add(lane(1, LaneNumber(9, 0, 3)));
    EXPECT_FALSE(table.add(lane(1, LaneNumber(9, 0, 3))).complete);  // twice
    EXPECT_EQ(table.incomplete(), 0U);
    table.add(lane(1, LaneNumber(9, 0, 2)));
    EXPECT_FALSE(table.add(lane(1, LaneNumber(9, 1, 3))).complete);  // another count
    EXPECT_EQ(table.incomplete(), 0U);
    table.add(lane(1, LaneNumber(9, 0, 2)));
    table.add(lane(1, LaneNumber(9, 7, 8)));  // a number beyond the first one's count
    EXPECT_EQ(table.incomplete(), 0U);
}

TEST_F(Lanes, are_bounded_for_one_peer_and_for_all) {
    for (std::uint64_t link = 0; link < LaneTable::kIncompleteLinksOfOnePeer + 5; ++link)
        table.add(lane(1, LaneNumber(link, 0, 2)));
    EXPECT_EQ(table.incomplete(), LaneTable::kIncompleteLinksOfOnePeer);
    for (int peer = 2; peer < 200; ++peer) table.add(lane(peer, LaneNumber(1, 0, 2)));
    EXPECT_EQ(table.incomplete(), LaneTable::kIncompleteLinks);
    EXPECT_TRUE(table.add(lane(199, LaneNumber(1, 1, 2))).complete);
}

TEST_F(Lanes, are_dropped_by_their_ticket_and_only_while_the_link_is_incomplete) {
    const LaneTable::Outcome first = table.add(lane(1, LaneNumber(9, 0, 2)));
    table.drop(*first.begun);
    EXPECT_EQ(table.incomplete(), 0U);
    const LaneTable::Outcome again = table.add(lane(1, LaneNumber(9, 1, 2)));
    ASSERT_TRUE(again.begun);
    EXPECT_NE(*again.begun, *first.begun);
    EXPECT_TRUE(table.add(lane(1, LaneNumber(9, 0, 2))).complete);
    table.drop(*again.begun);
}

}  // namespace
}  // namespace shoal::net
