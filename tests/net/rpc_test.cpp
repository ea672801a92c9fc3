// Calls over real sockets, in both directions of one connection.
#include "shoal/net/rpc.h"

#include "net/net_testing.h"

namespace shoal::net {
namespace {

using namespace testing;

Bytes text(std::string_view t) {
    return to_bytes(t);
}

class Rpc : public ::testing::TestWithParam<Encryption> {
  protected:
    NetworkSettings settings() const {
        NetworkSettings s = World::settings();
        s.encryption = GetParam();
        return s;
    }
    World world;
};

INSTANTIATE_TEST_SUITE_P(WithAndWithoutEncryption, Rpc, ::testing::Values(Encryption::tls, Encryption::none),
                         [](const auto& value) { return value.param == Encryption::tls ? "tls" : "plain"; });

awaitable<void> call_echo(World& world, Network& from, PeerId to) {
    Message request(text("question"), pattern(100'000));
    const Bytes payload = request.payload;
    const Message answer = co_await call(from, world.clock, to, "echo", std::move(request), world.soon());
    EXPECT_EQ(as_text(answer.control), "question");
    EXPECT_EQ(answer.payload, payload);
}

TEST_P(Rpc, answers_a_call) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    serve_calls(*server, world.clock, "echo", echo);
    introduce(*client, {{server->self(), endpoint_of(*server)}});
    world.run(call_echo(world, *client, server->self()));
}

TEST_P(Rpc, calls_a_peer_in_client_mode_over_the_connection_that_it_opened) {
    auto server = world.make(1, settings());
    NetworkSettings client_mode = settings();
    client_mode.accept_connections = false;
    auto client = world.make(2, client_mode);
    EXPECT_EQ(listen_port(*client), 0);
    serve_calls(*client, world.clock, "echo", echo);
    auto task = [](World& w, Network& s, Network& c) -> awaitable<void> {
        Endpoint endpoint = endpoint_of(s);
        const PeerId who = co_await c.dial(std::move(endpoint));
        EXPECT_EQ(who, s.self());
        auto condition_0 = [&s, &c] { return s.is_connected(c.self()); };
        co_await until(condition_0);
        co_await call_echo(w, s, c.self());
        EXPECT_EQ(s.connections().size(), 1U);
        EXPECT_FALSE(s.connections()[0].dialled_by_us);
    };
    world.run(task(world, *server, *client));
}

TEST_P(Rpc, calls_run_both_ways_at_once) {
    auto a = world.make(1, settings());
    auto b = world.make(2, settings());
    serve_calls(*a, world.clock, "echo", echo);
    serve_calls(*b, world.clock, "echo", echo);
    introduce(*a, {{b->self(), endpoint_of(*b)}});
    introduce(*b, {{a->self(), endpoint_of(*a)}});
    auto task = [](World& w, Network& x, Network& y) -> awaitable<void> {
        TaskGroup group(w.context.get_executor());
        for (int i = 0; i < 50; ++i) {
            group.spawn(call_echo(w, x, y.self()));
            group.spawn(call_echo(w, y, x.self()));
        }
        co_await group.join();
    };
    world.run(task(world, *a, *b));
}

awaitable<Message> refuse_all(PeerId, Message) {
    throw Error(ErrorKind::bad_input, "the file is empty");
    co_return Message();
}

TEST_P(Rpc, passes_on_what_the_handler_threw) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    serve_calls(*server, world.clock, "fail", refuse_all);
    introduce(*client, {{server->self(), endpoint_of(*server)}});
    auto task = [](World& w, Network& c, PeerId peer) -> awaitable<void> {
        const Error failed = co_await error_of(call(c, w.clock, peer, "fail", Message(), w.soon()));
        EXPECT_EQ(failed.kind(), ErrorKind::refused);
        EXPECT_TRUE(contains(failed.what(), "the file is empty")) << failed.what();
        EXPECT_EQ(failed.peer(), peer.short_name());
        const Error unknown = co_await error_of(call(c, w.clock, peer, "nothing", Message(), w.soon()));
        EXPECT_EQ(unknown.kind(), ErrorKind::refused);
        EXPECT_TRUE(contains(unknown.what(), "'nothing'")) << unknown.what();
    };
    world.run(task(world, *client, server->self()));
}

/// Waits for ever, and says when it begins and that it was cancelled.
struct Hanging {
    explicit Hanging(const asio::any_io_executor& executor) : signal(executor) {}
    awaitable<Message> operator()(PeerId, Message) {
        ++begun;
        try {
            for (;;) co_await signal.wait();
        } catch (...) {
            ++cancelled;
            throw;
        }
    }
    Signal signal;
    int begun = 0, cancelled = 0;
};

TEST_P(Rpc, deadline_ends_the_call_and_cancels_the_work_at_the_other_side) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    auto hanging = std::make_shared<Hanging>(world.context.get_executor());
    serve_calls(*server, world.clock, "hang",
                [hanging](PeerId p, Message m) { return (*hanging)(p, std::move(m)); });
    introduce(*client, {{server->self(), endpoint_of(*server)}});
    auto task = [](World& w, Network& c, PeerId peer, Hanging& h) -> awaitable<void> {
        const TimePoint deadline = w.clock.now() + 200ms;
        const Error error = co_await error_of(call(c, w.clock, peer, "hang", Message(), deadline));
        EXPECT_EQ(error.kind(), ErrorKind::timed_out);
        EXPECT_TRUE(contains(error.what(), "hang")) << error.what();
        auto condition_1 = [&h] { return h.cancelled == h.begun; };
        co_await until(condition_1);
    };
    world.run(task(world, *client, server->self(), *hanging));
}

TEST_P(Rpc, cancelling_the_caller_cancels_the_work_and_frees_the_stream_on_both_sides) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    auto hanging = std::make_shared<Hanging>(world.context.get_executor());
    serve_calls(*server, world.clock, "hang",
                [hanging](PeerId p, Message m) { return (*hanging)(p, std::move(m)); });
    introduce(*client, {{server->self(), endpoint_of(*server)}});
    auto task = [](World& w, Network& c, PeerId peer, Hanging& h) -> awaitable<void> {
        // More calls than streams are allowed at once: they pass only if every one is freed on both sides.
        for (int round = 0; round < 3; ++round) {
            TaskGroup group(w.context.get_executor());
            auto one = [](World& world_, Network& from, PeerId to) -> awaitable<void> {
                co_await call(from, world_.clock, to, "hang", Message(), TimePoint::never());
            };
            for (int i = 0; i < 500; ++i) group.spawn(one(w, c, peer));
            const int expected = (round + 1) * 500;
            auto condition_2 = [&h, expected] { return h.begun == expected; };
            co_await until(condition_2);
            group.cancel();
            co_await group.settle();
            auto condition_3 = [&h, expected] { return h.cancelled == expected; };
            co_await until(condition_3);
        }
    };
    world.run(task(world, *client, server->self(), *hanging));
}

TEST_P(Rpc, a_call_to_a_peer_without_address_says_why) {
    auto client = world.make(2, settings());
    introduce(*client, {});
    auto task = [](World& w, Network& c) -> awaitable<void> {
        const Error error = co_await error_of(call(c, w.clock, World::id(9), "echo", Message(), w.soon()));
        EXPECT_EQ(error.kind(), ErrorKind::unreachable);
        EXPECT_TRUE(contains(error.what(), "no address")) << error.what();
        EXPECT_EQ(error.peer(), World::id(9).short_name());
    };
    world.run(task(world, *client));
}

}  // namespace
}  // namespace shoal::net
