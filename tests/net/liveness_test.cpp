// Peers that freeze, vanish or crawl, over real sockets: who is dead must be noticed, who is slow must live.
#include "net/net_testing.h"

#include <array>
#include <asio/ip/tcp.hpp>

#include "shoal/net/certificate.h"
#include "shoal/net/frame.h"
#include "shoal/net/hello.h"
#include "shoal/net/tls_pipe.h"

namespace shoal::net {
namespace {

using namespace testing;

constexpr int kStranger = 66;

/// A peer that shakes hands properly; what it does then is up to the test.
awaitable<std::unique_ptr<TlsPipe>> connect_stranger(World& world, std::uint16_t port) {
    const asio::ip::tcp::endpoint target(asio::ip::make_address("127.0.0.1"), port);
    asio::ip::tcp::socket socket(world.context);
    co_await socket.async_connect(target, asio::use_awaitable);
    socket.set_option(asio::socket_base::linger(true, 0));  // close() resets, as the death of a machine does
    const TlsContext context = make_tls_context(World::key(kStranger), false);
    auto pipe = std::make_unique<TlsPipe>(std::move(socket), context.get(), false);
    co_await pipe->handshake();
    Greeting greeting;
    greeting.maximum_streams = 10;
    co_await greet_as_dialler(*pipe, std::move(greeting));
    co_return pipe;
}

awaitable<void> say(TlsPipe& pipe, Bytes bytes) {
    OutgoingBatch batch;
    batch.begin(bytes);
    pipe.stage(batch);
    co_await pipe.flush(batch);
}

NetworkSettings hasty() {
    NetworkSettings settings = World::settings();
    settings.ping_interval = 25ms;
    settings.peer_timeout = 150ms;
    return settings;
}

/// What a service saw of its stream.
struct Seen {
    int messages = 0;
    std::optional<Error> end;
};

awaitable<void> watch(StreamPointer stream, std::shared_ptr<Seen> seen) {
    try {
        bool more = true;
        while (more) {
            const std::optional<Message> message = co_await stream->read();
            more = message.has_value();
            if (more) ++seen->messages;
        }
    } catch (const Error& error) {
        seen->end = error;
    }
}

awaitable<void> write_for_ever(StreamPointer stream, std::shared_ptr<Seen> seen) {
    const Bytes payload(kMaximumPayloadBytes, 1);
    try {
        for (;;) co_await stream->write(ByteView(), payload);
    } catch (const Error& error) {
        seen->end = error;
    }
}

TEST(Liveness, a_peer_that_freezes_after_the_handshake_is_noticed) {
    World world;
    auto server = world.make(1, hasty());
    std::string cause;
    auto token = server->observe([&cause](const PeerId&, bool up, const std::string& why) {
        if (!up) cause = why;
    });
    auto task = [](World& w, Network& s, std::string& lost) -> awaitable<void> {
        const TimePoint before = w.clock.now();
        const auto frozen = co_await connect_stranger(w, listen_port(s));
        auto is_lost = [&lost] { return !lost.empty(); };
        co_await until(is_lost);
        EXPECT_TRUE(contains(lost, "silent for")) << lost;
        EXPECT_GE(w.clock.now() - before, 140ms);
        EXPECT_FALSE(s.is_connected(World::id(kStranger)));
    };
    world.run(task(world, *server, cause));
}

TEST(Liveness, writing_to_a_frozen_peer_ends_with_the_cause) {
    World world;
    auto server = world.make(1, hasty());
    auto seen = std::make_shared<Seen>();
    server->serve("flood", [seen](StreamPointer stream) { return write_for_ever(std::move(stream), seen); });
    auto task = [](World& w, Network& s, Seen& what) -> awaitable<void> {
        const auto frozen = co_await connect_stranger(w, listen_port(s));
        Bytes bytes;
        append_frame(bytes, FrameType::open, 1, as_bytes("flood"));
        co_await say(*frozen, std::move(bytes));
        auto has_ended = [&what] { return what.end.has_value(); };
        co_await until(has_ended);
        EXPECT_EQ(what.end->kind(), ErrorKind::connection_lost);
        EXPECT_EQ(what.end->peer(), World::id(kStranger).short_name());
        EXPECT_TRUE(contains(what.end->what(), "silent for")) << what.end->what();
    };
    world.run(task(world, *server, *seen));
}

TEST(Liveness, a_connection_killed_in_a_message_fails_the_reader_with_the_cause) {
    World world;
    auto server = world.make(1, hasty());
    auto seen = std::make_shared<Seen>();
    server->serve("watch", [seen](StreamPointer stream) { return watch(std::move(stream), seen); });
    auto task = [](World& w, Network& s, Seen& what) -> awaitable<void> {
        const auto dying = co_await connect_stranger(w, listen_port(s));
        Bytes bytes, lengths(8);
        append_frame(bytes, FrameType::open, 1, as_bytes("watch"));
        append_frame(bytes, FrameType::message, 1, lengths);
        put_u32(lengths.data() + 4, 100'000);
        append_frame(bytes, FrameType::message, 1, lengths);
        const Bytes half(50'000, 1);
        append_frame(bytes, FrameType::data, 1, half);
        co_await say(*dying, std::move(bytes));
        auto has_one = [&what] { return what.messages == 1; };
        co_await until(has_one);
        dying->close();
        auto has_ended = [&what] { return what.end.has_value(); };
        co_await until(has_ended);
        EXPECT_EQ(what.end->kind(), ErrorKind::connection_lost);
        EXPECT_EQ(what.end->peer(), World::id(kStranger).short_name());
        EXPECT_EQ(what.messages, 1);
    };
    world.run(task(world, *server, *seen));
}

TEST(Liveness, a_peer_that_crawls_is_alive) {
    World world;
    auto server = world.make(1, hasty());
    auto seen = std::make_shared<Seen>();
    server->serve("watch", [seen](StreamPointer stream) { return watch(std::move(stream), seen); });
    auto task = [](World& w, Network& s, Seen& what) -> awaitable<void> {
        const auto slow = co_await connect_stranger(w, listen_port(s));
        Bytes bytes, lengths(8);
        append_frame(bytes, FrameType::open, 1, as_bytes("watch"));
        put_u32(lengths.data() + 4, 40);
        append_frame(bytes, FrameType::message, 1, lengths);
        append_frame(bytes, FrameType::data, 1, Bytes(40, 1));
        // Never a pong, only a byte now and then, for several times the time-out.
        for (const std::uint8_t byte : bytes) {
            co_await say(*slow, Bytes(1, byte));
            co_await w.clock.sleep_for(10ms);
        }
        auto has_one = [&what] { return what.messages == 1; };
        co_await until(has_one);
        EXPECT_FALSE(what.end.has_value());
    };
    world.run(task(world, *server, *seen));
}

TEST(Liveness, a_message_stream_over_tls_carries_megabytes_both_ways_intact) {
    World world;
    auto server = world.make(1);
    auto client = world.make(2);
    serve_calls(*server, world.clock, "echo", echo);
    introduce(*client, {{server->self(), endpoint_of(*server)}});
    auto task = [](World& w, Network& c, PeerId peer) -> awaitable<void> {
        auto one = [](World& world_, Network& from, PeerId to, std::uint32_t number) -> awaitable<void> {
            Message request(Bytes(kMaximumControlBytes, 3), pattern(kMaximumPayloadBytes, number));
            const Bytes payload = request.payload;
            const Message answer =
                co_await call(from, world_.clock, to, "echo", std::move(request), world_.soon());
            EXPECT_TRUE(answer.payload == payload);
            EXPECT_EQ(answer.control.size(), kMaximumControlBytes);
        };
        TaskGroup group(w.context.get_executor());
        for (std::uint32_t i = 0; i < 20; ++i) group.spawn(one(w, c, peer, i));
        co_await group.join();
    };
    world.run(task(world, *client, server->self()));
}

}  // namespace
}  // namespace shoal::net
