// Who may connect with whom, and what the error says if not.
#include "net/net_testing.h"

#include <array>
#include <asio/ip/tcp.hpp>
#include <asio/redirect_error.hpp>
#include <asio/write.hpp>

namespace shoal::net {
namespace {

using namespace testing;

class Connecting : public ::testing::TestWithParam<Encryption> {
  protected:
    NetworkSettings settings() const {
        NetworkSettings s = World::settings();
        s.encryption = GetParam();
        return s;
    }
    World world;
};

INSTANTIATE_TEST_SUITE_P(WithAndWithoutEncryption, Connecting,
                         ::testing::Values(Encryption::tls, Encryption::none),
                         [](const auto& value) { return value.param == Encryption::tls ? "tls" : "plain"; });

TEST_P(Connecting, handshake_proves_who_is_at_either_end) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    auto task = [](Network& s, Network& c) -> awaitable<void> {
        const PeerId who = co_await c.dial(endpoint_of(s));
        EXPECT_EQ(who, World::id(1));
        auto condition_0 = [&s] { return s.is_connected(World::id(2)); };
        co_await until(condition_0);
        const auto infos = c.connections();
        EXPECT_EQ(infos.size(), 1U);
        EXPECT_EQ(infos[0].peer, World::id(1));
        EXPECT_EQ(infos[0].remote_address, endpoint_of(s).to_string());
        EXPECT_TRUE(infos[0].dialled_by_us);
        auto condition_1 = [&c] { return c.connections()[0].round_trip > 0ns; };
        co_await until(condition_1);
        EXPECT_GT(c.connections()[0].bytes_received, 100U);
        EXPECT_GT(c.connections()[0].bytes_delivered, 100U);
        EXPECT_LE(c.connections()[0].bytes_delivered, c.connections()[0].bytes_sent);
    };
    world.run(task(*server, *client));
}

TEST_P(Connecting, another_peer_at_the_address_is_refused_and_named) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    introduce(*client, {{World::id(7), endpoint_of(*server)}});
    auto task = [](Network& c) -> awaitable<void> {
        const Error error = co_await error_of(c.open(World::id(7), "x"));
        EXPECT_EQ(error.kind(), ErrorKind::unreachable);
        EXPECT_TRUE(contains(error.what(), World::id(1).short_name())) << error.what();
        EXPECT_TRUE(contains(error.what(), World::id(7).short_name())) << error.what();
        EXPECT_FALSE(c.is_connected(World::id(1)));
    };
    world.run(task(*client));
}

TEST_P(Connecting, differing_settings_are_refused_with_the_field_and_both_values) {
    NetworkSettings ours = settings(), theirs = settings();
    ours.agreed = {{"run", "albert"}, {"target_batch_size", "512"}};
    theirs.agreed = {{"run", "albert"}, {"target_batch_size", "256"}};
    auto server = world.make(1, theirs);
    auto client = world.make(2, ours);
    auto task = [](Network& s, Network& c) -> awaitable<void> {
        const Error error = co_await error_of(c.dial(endpoint_of(s)));
        EXPECT_EQ(error.kind(), ErrorKind::refused);
        EXPECT_TRUE(contains(error.what(), "the run's target_batch_size differs: ours 512, theirs 256"))
            << error.what();
        EXPECT_TRUE(contains(error.what(), endpoint_of(s).to_string())) << error.what();
    };
    world.run(task(*server, *client));
}

TEST_P(Connecting, a_field_that_only_one_side_has_is_named) {
    NetworkSettings ours = settings(), theirs = settings();
    ours.agreed = {{"run", "albert"}};
    theirs.agreed = {{"run", "albert"}, {"codec", "fp16"}};
    auto server = world.make(1, theirs);
    auto client = world.make(2, ours);
    auto task = [](Network& s, Network& c) -> awaitable<void> {
        const Error error = co_await error_of(c.dial(endpoint_of(s)));
        EXPECT_TRUE(contains(error.what(), "codec differs: ours has none, theirs fp16")) << error.what();
    };
    world.run(task(*server, *client));
}

TEST_P(Connecting, an_observer_without_settings_is_accepted) {
    NetworkSettings theirs = settings();
    theirs.agreed = {{"run", "albert"}};
    auto server = world.make(1, theirs);
    auto observer = world.make(2, settings());
    auto task = [](Network& s, Network& c) -> awaitable<void> {
        const PeerId who = co_await c.dial(endpoint_of(s));
        EXPECT_EQ(who, s.self());
    };
    world.run(task(*server, *observer));
}

TEST_P(Connecting, an_observer_reaches_no_service_but_those_that_are_open_to_everybody) {
    NetworkSettings theirs = settings();
    theirs.agreed = {{"run", "albert"}};
    auto server = world.make(1, theirs);
    auto member = world.make(2, theirs), observer = world.make(3, settings());
    const auto echo = [](StreamPointer stream) -> awaitable<void> {
        const std::optional<Message> message = co_await stream->read();
        co_await stream->write(message->control, ByteView());
        stream->finish();
    };
    server->serve("albert/progress", echo);
    server->serve("albert/probe", echo, Audience::everybody);
    auto said = [](Network& from, Network& to, std::string service) -> awaitable<std::string> {
        co_await from.dial(endpoint_of(to));
        const StreamPointer stream = co_await from.open(to.self(), std::move(service));
        const Bytes word = to_bytes("hello");
        std::string outcome = "nothing";
        try {
            co_await stream->write(word, ByteView());
            const std::optional<Message> answer = co_await stream->read();
            if (answer) outcome = std::string(as_text(answer->control));
        } catch (const Error& error) {
            outcome = error.what();
        }
        co_return outcome;
    };
    auto task = [said](Network& s, Network& m, Network& o) -> awaitable<void> {
        const std::string probe = "albert/probe", progress = "albert/progress";
        EXPECT_EQ(co_await said(m, s, progress), "hello");
        EXPECT_EQ(co_await said(o, s, probe), "hello");
        const std::string refusal = co_await said(o, s, progress);
        EXPECT_NE(refusal.find("is for peers that have agreed on the run's settings"), std::string::npos)
            << refusal;
    };
    world.run(task(*server, *member, *observer));
}

TEST_P(Connecting, what_an_observer_says_on_a_stream_of_members_is_not_heard) {
    NetworkSettings theirs = settings();
    theirs.agreed = {{"run", "albert"}};
    auto server = world.make(1, theirs);
    auto member = world.make(2, theirs), observer = world.make(3, settings());
    std::string told;
    const auto echo = [&told](StreamPointer stream) -> awaitable<void> {
        const std::optional<Message> message = co_await stream->read();
        told += as_text(message->control);
        co_await stream->write(message->control, ByteView());
        stream->finish();
    };
    for (Network* network : {server.get(), member.get(), observer.get()}) {
        network->serve("albert/state", echo);
        network->serve("lookup", echo, Audience::everybody);
    }
    auto task = [&told](Network& s, Network& m, Network& o) -> awaitable<void> {
        co_await m.dial(endpoint_of(s));
        co_await o.dial(endpoint_of(s));
        const std::vector<PeerId> peers{m.self(), o.self()};
        for (const PeerId& peer : peers) {
            for (const char* service : {"lookup", "albert/state"}) {
                const StreamPointer stream = co_await s.open(peer, service);
                co_await stream->write(as_bytes("words"), ByteView());
                const bool heard = peer == m.self() || std::string(service) == "lookup";
                if (heard) {
                    const std::optional<Message> answer = co_await stream->read();
                    EXPECT_EQ(as_text(answer->control), "words");
                } else {
                    const Error error = co_await error_of(stream->read());
                    EXPECT_EQ(error.kind(), ErrorKind::refused);
                    EXPECT_TRUE(contains(error.what(), "has not agreed on the run's settings"))
                        << error.what();
                    auto listened = [&told] { return told == "wordswordswordswords"; };
                    co_await until(listened);
                }
            }
        }
    };
    world.run(task(*server, *member, *observer));
}

TEST_P(Connecting, a_peer_that_was_useful_finds_a_place_where_strangers_are_refused) {
    NetworkSettings small = settings();
    small.maximum_connections = 2;
    auto server = world.make(1, small);
    auto useful = world.make(2, settings());
    std::vector<std::shared_ptr<Network>> strangers;
    for (int i = 3; i < 6; ++i) strangers.push_back(world.make(i, settings()));
    serve_calls(*useful, world.clock, "echo", echo);
    auto task = [&strangers](World& w, Network& s, Network& u) -> awaitable<void> {
        co_await u.dial(endpoint_of(s));
        auto connected = [&] { return s.is_connected(u.self()); };
        co_await until(connected);
        co_await call(s, w.clock, u.self(), "echo", Message(), w.soon());
        s.mark_useful(u.self());
        co_await strangers[0]->dial(endpoint_of(s));
        const Error refused = co_await error_of(strangers[1]->dial(endpoint_of(s)));
        EXPECT_TRUE(contains(refused.what(), "is full: 2 connections")) << refused.what();
        EXPECT_TRUE(s.is_connected(u.self()));

        u.disconnect(s.self(), "for a while");
        auto apart = [&] { return s.connections().size() == 1; };
        co_await until(apart);
        co_await strangers[1]->dial(endpoint_of(s));
        co_await u.dial(endpoint_of(s));
        auto displaced = [&] { return s.is_connected(u.self()) && !s.is_connected(World::id(3)); };
        co_await until(displaced);
        EXPECT_TRUE(s.is_connected(World::id(4))) << "the one that had been there longest went";
        const Error again = co_await error_of(strangers[2]->dial(endpoint_of(s)));
        EXPECT_TRUE(contains(again.what(), "is full")) << again.what();
    };
    world.run(task(world, *server, *useful));
}

TEST_P(Connecting, dialling_oneself_is_recognised_and_makes_no_connection) {
    auto server = world.make(1, settings());
    auto task = [](Network& s) -> awaitable<void> {
        const PeerId who = co_await s.dial(endpoint_of(s));
        EXPECT_EQ(who, s.self());
        EXPECT_TRUE(s.connections().empty());
    };
    world.run(task(*server));
}

TEST_P(Connecting, a_peer_that_is_full_says_so) {
    NetworkSettings small = settings();
    small.maximum_connections = 1;
    auto server = world.make(1, small);
    auto first = world.make(2, settings());
    auto second = world.make(3, settings());
    auto task = [](Network& s, Network& a, Network& b) -> awaitable<void> {
        co_await a.dial(endpoint_of(s));
        auto condition_2 = [&] { return s.is_connected(a.self()); };
        co_await until(condition_2);
        const Error error = co_await error_of(b.dial(endpoint_of(s)));
        EXPECT_EQ(error.kind(), ErrorKind::refused);
        EXPECT_TRUE(contains(error.what(), "is full: 1 connections")) << error.what();
    };
    world.run(task(*server, *first, *second));
}

TEST_P(Connecting, each_address_that_failed_is_named_with_its_cause_and_the_good_one_wins) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    std::uint16_t closed_port = 0;
    {
        asio::ip::tcp::acceptor acceptor(world.context, {asio::ip::make_address("127.0.0.1"), 0});
        closed_port = acceptor.local_endpoint().port();
    }
    Endpoint closed;
    closed.host = "127.0.0.1";
    closed.port = closed_port;
    introduce(*client,
              {{World::id(1), closed}, {World::id(1), endpoint_of(*server)}, {World::id(5), closed}});
    auto task = [](Network& c, Endpoint nobody) -> awaitable<void> {
        const StreamPointer stream = co_await c.open(World::id(1), "x");
        EXPECT_EQ(stream->peer(), World::id(1));
        const Error error = co_await error_of(c.open(World::id(5), "x"));
        EXPECT_EQ(error.kind(), ErrorKind::unreachable);
        EXPECT_TRUE(contains(error.what(), nobody.to_string() + ": connection refused")) << error.what();
    };
    world.run(task(*client, closed));
}

TEST_P(Connecting, an_address_where_nobody_answers_times_out) {
    NetworkSettings hasty = settings();
    hasty.dial_timeout = 50ms;
    auto client = world.make(2, hasty);
    asio::ip::tcp::acceptor silent(world.context, {asio::ip::make_address("127.0.0.1"), 0});
    Endpoint endpoint;
    endpoint.host = "127.0.0.1";
    endpoint.port = silent.local_endpoint().port();
    auto task = [](Network& c, Endpoint where) -> awaitable<void> {
        const Error error = co_await error_of(c.dial(where));
        EXPECT_EQ(error.kind(), ErrorKind::timed_out);
        EXPECT_TRUE(contains(error.what(), "no answer within 50 ms")) << error.what();
    };
    world.run(task(*client, endpoint));
}

awaitable<void> answer_like_http(asio::ip::tcp::acceptor& acceptor) {
    asio::ip::tcp::socket socket = co_await acceptor.async_accept(asio::use_awaitable);
    const std::string page = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    co_await asio::async_write(socket, asio::buffer(page), asio::use_awaitable);
    std::array<char, 4096> rest{};
    std::size_t count = 1;
    while (count > 0) {
        std::error_code code;
        count = co_await socket.async_read_some(asio::buffer(rest),
                                                asio::redirect_error(asio::use_awaitable, code));
    }
}

TEST_P(Connecting, a_server_of_another_kind_is_recognised) {
    auto client = world.make(2, settings());
    asio::ip::tcp::acceptor acceptor(world.context, {asio::ip::make_address("127.0.0.1"), 0});
    Endpoint endpoint;
    endpoint.host = "127.0.0.1";
    endpoint.port = acceptor.local_endpoint().port();
    auto task = [](asio::ip::tcp::acceptor& a, Network& c, Endpoint where) -> awaitable<void> {
        const asio::any_io_executor executor = co_await asio::this_coro::executor;
        TaskGroup group(executor);
        group.spawn(answer_like_http(a));
        const Error error = co_await error_of(c.dial(where));
        EXPECT_EQ(error.kind(), ErrorKind::refused);
        EXPECT_TRUE(contains(error.what(), "no Shoal peer")) << error.what();
        co_await group.join();
    };
    world.run(task(acceptor, *client, endpoint));
}

TEST_P(Connecting, a_peer_with_the_other_encryption_is_refused) {
    NetworkSettings other = settings();
    other.encryption = GetParam() == Encryption::tls ? Encryption::none : Encryption::tls;
    auto server = world.make(1, other);
    auto client = world.make(2, settings());
    auto task = [](Network& s, Network& c) -> awaitable<void> {
        const Error error = co_await error_of(c.dial(endpoint_of(s)));
        EXPECT_TRUE(error.kind() == ErrorKind::refused || error.kind() == ErrorKind::unreachable)
            << error.what();
        EXPECT_TRUE(contains(error.what(), "Shoal peer")) << error.what();
        EXPECT_FALSE(s.is_connected(c.self()));
    };
    world.run(task(*server, *client));
}

TEST_P(Connecting, many_callers_share_one_dialling) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    serve_calls(*server, world.clock, "echo", echo);
    introduce(*client, {{server->self(), endpoint_of(*server)}});
    auto task = [](World& w, Network& s, Network& c) -> awaitable<void> {
        auto one = [](World& world_, Network& from, PeerId to) -> awaitable<void> {
            co_await call(from, world_.clock, to, "echo", Message(), world_.soon());
        };
        TaskGroup group(w.context.get_executor());
        for (int i = 0; i < 100; ++i) group.spawn(one(w, c, s.self()));
        co_await group.join();
        EXPECT_EQ(c.connections().size(), 1U);
        EXPECT_EQ(s.connections().size(), 1U);
    };
    world.run(task(world, *server, *client));
}

TEST_P(Connecting, both_sides_may_dial_at_the_same_moment) {
    auto a = world.make(1, settings());
    auto b = world.make(2, settings());
    serve_calls(*a, world.clock, "echo", echo);
    serve_calls(*b, world.clock, "echo", echo);
    introduce(*a, {{b->self(), endpoint_of(*b)}});
    introduce(*b, {{a->self(), endpoint_of(*a)}});
    auto task = [](World& w, Network& x, Network& y) -> awaitable<void> {
        auto calls = [](World& world_, Network& from, PeerId to) -> awaitable<void> {
            for (int i = 0; i < 20; ++i)
                co_await call(from, world_.clock, to, "echo", Message(), world_.soon());
        };
        TaskGroup group(w.context.get_executor());
        group.spawn(calls(w, x, y.self()));
        group.spawn(calls(w, y, x.self()));
        co_await group.join();
        EXPECT_LE(x.connections().size(), 2U);
        EXPECT_EQ(x.connections().size(), y.connections().size());
    };
    world.run(task(world, *a, *b));
}

TEST_P(Connecting, dialling_a_connected_peer_again_keeps_the_connection) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    auto task = [](Network& s, Network& c) -> awaitable<void> {
        for (int i = 0; i < 5; ++i) co_await c.dial(endpoint_of(s));
        EXPECT_EQ(c.connections().size(), 1U);
        auto condition_3 = [&s] { return s.connections().size() == 1; };
        co_await until(condition_3);
    };
    world.run(task(*server, *client));
}

TEST_P(Connecting, observers_hear_of_the_first_connection_and_of_the_loss_of_the_last) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    std::vector<std::string> heard;
    auto token = server->observe([&heard](const PeerId& peer, bool up, const std::string& cause) {
        heard.push_back((up ? "up " : "down ") + peer.short_name() + " " + cause);
    });
    auto task = [](Network& s, std::shared_ptr<Network> c,
                   std::vector<std::string>& notes) -> awaitable<void> {
        co_await c->dial(endpoint_of(s));
        auto condition_4 = [&notes] { return notes.size() == 1; };
        co_await until(condition_4);
        co_await shut_down(c);
        EXPECT_TRUE(c->connections().empty());
        auto condition_5 = [&notes] { return notes.size() == 2; };
        co_await until(condition_5);
        EXPECT_EQ(notes[0], "up " + c->self().short_name() + " ");
        EXPECT_TRUE(contains(notes[1], "down " + c->self().short_name())) << notes[1];
        EXPECT_TRUE(contains(notes[1], "shuts down")) << notes[1];
        EXPECT_FALSE(s.is_connected(c->self()));
        const Error error = co_await error_of(c->open(s.self(), "x"));
        EXPECT_EQ(error.kind(), ErrorKind::cancelled);
    };
    world.run(task(*server, client, heard));
}

TEST_P(Connecting, a_restarted_peer_replaces_its_old_connection) {
    auto server = world.make(1, settings());
    auto old_one = world.make(2, settings());
    auto new_one = world.make(2, settings());  // the same key
    auto task = [](Network& s, Network& before, Network& after) -> awaitable<void> {
        co_await before.dial(endpoint_of(s));
        co_await after.dial(endpoint_of(s));
        auto condition_6 = [&] { return !before.is_connected(s.self()) && after.is_connected(s.self()); };
        co_await until(condition_6);
        EXPECT_EQ(s.connections().size(), 1U);
    };
    world.run(task(*server, *old_one, *new_one));
}

TEST_P(Connecting, disconnect_ends_the_streams_with_the_reason) {
    auto server = world.make(1, settings());
    auto client = world.make(2, settings());
    auto task = [](Network& s, Network& c) -> awaitable<void> {
        const PeerId peer = co_await c.dial(endpoint_of(s));
        const StreamPointer stream = co_await c.open(peer, "x");
        c.disconnect(peer, "it lied about its gradient");
        const Error error = co_await error_of(stream->read());
        EXPECT_EQ(error.kind(), ErrorKind::connection_lost);
        EXPECT_TRUE(contains(error.what(), "it lied about its gradient")) << error.what();
        EXPECT_FALSE(c.is_connected(peer));
        auto condition_7 = [&] { return !s.is_connected(c.self()); };
        co_await until(condition_7);
    };
    world.run(task(*server, *client));
}

TEST(Listening, a_taken_port_is_named) {
    World world;
    auto first = world.make(1);
    NetworkSettings settings = World::settings();
    settings.listen_port = listen_port(*first);
    try {
        world.make(2, settings);
        FAIL() << "no error";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::system);
        EXPECT_TRUE(contains(error.what(), std::to_string(settings.listen_port))) << error.what();
        EXPECT_TRUE(contains(error.what(), "choose another")) << error.what();
    }
}

TEST(Listening, a_host_that_is_no_address_is_named) {
    World world;
    NetworkSettings settings;
    settings.listen_host = "everywhere";
    EXPECT_THROW(world.make(1, settings), Error);
}

TEST(Listening, settings_that_do_not_fit_a_handshake_are_refused_at_once) {
    World world;
    NetworkSettings settings = World::settings();
    settings.agreed = {{"field", std::string(5000, 'x')}};
    EXPECT_THROW(world.make(1, settings), Error);
}

TEST(Listening, silent_strangers_do_not_keep_a_peer_out) {
    World world;
    auto server = world.make(1);
    auto client = world.make(2);
    std::vector<asio::ip::tcp::socket> strangers;
    auto task = [](World& w, Network& s, Network& c,
                   std::vector<asio::ip::tcp::socket>& silent) -> awaitable<void> {
        const asio::ip::tcp::endpoint target(asio::ip::make_address("127.0.0.1"), listen_port(s));
        for (int i = 0; i < 300; ++i) {
            silent.emplace_back(w.context);
            co_await silent.back().async_connect(target, asio::use_awaitable);
        }
        co_await c.dial(endpoint_of(s));
        // Those who came first were dropped.
        std::array<char, 16> nothing{};
        std::error_code code;
        auto token = asio::redirect_error(asio::use_awaitable, code);
        co_await silent.front().async_read_some(asio::buffer(nothing), token);
        EXPECT_TRUE(code);
    };
    world.run(task(world, *server, *client, strangers));
}

}  // namespace
}  // namespace shoal::net
