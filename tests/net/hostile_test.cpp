// Bytes from strangers: on the port, inside TLS, and as frames. Nothing may crash, and good peers are still
// served.
#include "net/frame_victim.h"
#include "net/net_testing.h"

#include <algorithm>
#include <array>
#include <asio/ip/tcp.hpp>
#include <asio/redirect_error.hpp>
#include <asio/write.hpp>
#include <deque>

#include "shoal/base/random.h"
#include "shoal/net/certificate.h"
#include "shoal/net/hello.h"
#include "shoal/net/tls_pipe.h"

namespace shoal::net {
namespace {

using namespace testing;

Bytes random_bytes(Random& random, std::size_t size) {
    Bytes bytes(size);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.next());
    return bytes;
}

/// What a good peer might say after the handshake.
Bytes good_conversation() {
    Bytes bytes;
    const Bytes payload = pattern(3000);
    append_frame(bytes, FrameType::open, 1, as_bytes("echo"));
    append_frame(bytes, FrameType::open, 3, as_bytes("hold"));
    for (std::uint32_t stream : {1U, 3U, 2U}) {
        Bytes lengths(8);
        put_u32(lengths.data(), 1000);
        put_u32(lengths.data() + 4, 2000);
        append_frame(bytes, FrameType::message, stream, lengths);
        append_frame(bytes, FrameType::data, stream, ByteView(payload).first(1700));
        append_frame(bytes, FrameType::data, stream, ByteView(payload).subspan(1700));
        append_frame_u32(bytes, FrameType::credit, stream, 0);
    }
    append_frame_u64(bytes, FrameType::ping, 0, 77);
    append_frame(bytes, FrameType::finish, 1);
    append_frame(bytes, FrameType::reset, 3, as_bytes("enough"));
    append_frame(bytes, FrameType::goodbye, 0, as_bytes("bye"));
    return bytes;
}

void mutate(Bytes& bytes, Random& random) {
    const std::size_t changes = 1 + random.below(4);
    for (std::size_t i = 0; i < changes && !bytes.empty(); ++i) {
        const std::size_t place = random.below(bytes.size());
        const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(place);
        switch (random.below(4)) {
            case 0:
                bytes[place] ^= static_cast<std::uint8_t>(1 << random.below(8));
                break;
            case 1:
                bytes[place] = static_cast<std::uint8_t>(random.next());
                break;
            case 2:
                bytes.erase(at, at + static_cast<std::ptrdiff_t>(
                                         std::min<std::size_t>(bytes.size() - place, 1 + random.below(20))));
                break;
            default: {
                const Bytes more = random_bytes(random, 1 + random.below(20));
                bytes.insert(at, more.begin(), more.end());
            }
        }
    }
}

void feed_in_pieces(FrameVictim& victim, ByteView bytes, Random& random) {
    while (!bytes.empty() && !victim.ended()) {
        const std::size_t size = std::min<std::size_t>(bytes.size(), 1 + random.below(4000));
        victim.feed(bytes.first(size));
        bytes = bytes.subspan(size);
    }
}

TEST(HostileFrames, a_good_conversation_is_understood_in_whatever_pieces_it_arrives) {
    Random random(1);
    for (int round = 0; round < 50; ++round) {
        FrameVictim victim;
        feed_in_pieces(victim, good_conversation(), random);
        EXPECT_TRUE(contains(victim.cause(), "said goodbye: bye")) << victim.cause();
    }
    FrameVictim byte_by_byte;
    const Bytes bytes = good_conversation();
    for (const std::uint8_t& byte : bytes) byte_by_byte.feed(ByteView(&byte, 1));
    EXPECT_TRUE(contains(byte_by_byte.cause(), "said goodbye: bye")) << byte_by_byte.cause();
}

TEST(HostileFrames, mutated_conversations_never_crash_and_stay_bounded) {
    Random random(2);
    for (int round = 0; round < 3000; ++round) {
        Bytes bytes = good_conversation();
        mutate(bytes, random);
        FrameVictim victim;
        feed_in_pieces(victim, bytes, random);
        ASSERT_LE(victim.victim().unread_bytes(), 4 * kMinimumWindow);
        ASSERT_LE(victim.victim().open_streams(), 17U);
    }
}

TEST(HostileFrames, random_bytes_end_the_connection) {
    Random random(3);
    for (int round = 0; round < 1000; ++round) {
        FrameVictim victim;
        victim.feed(random_bytes(random, 13 + random.below(500)));
        ASSERT_TRUE(victim.ended());
    }
}

/// What the victim says of these frames.
std::string verdict_on(const Bytes& bytes) {
    FrameVictim victim;
    victim.feed(bytes);
    return victim.ended() ? "ended" : "alive";
}

Bytes message_frame(std::uint32_t stream, std::uint32_t control, std::uint32_t payload) {
    Bytes lengths(8), bytes;
    put_u32(lengths.data(), control);
    put_u32(lengths.data() + 4, payload);
    append_frame(bytes, FrameType::message, stream, lengths);
    return bytes;
}

Bytes operator+(Bytes a, const Bytes& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

TEST(HostileFrames, each_rule_of_the_protocol_is_enforced) {
    Bytes open, even, again, data, credit, finish;
    append_frame(open, FrameType::open, 1, as_bytes("hold"));
    append_frame(even, FrameType::open, 4, as_bytes("hold"));
    append_frame(data, FrameType::data, 1, as_bytes("stray"));
    append_frame_u32(credit, FrameType::credit, 1, 1);
    append_frame(finish, FrameType::finish, 1);
    EXPECT_EQ(verdict_on(open), "alive");
    EXPECT_EQ(verdict_on(even), "ended") << "a number of ours";
    EXPECT_EQ(verdict_on(open + open), "ended") << "the same number twice";
    EXPECT_EQ(verdict_on(data), "ended") << "a stream that does not exist";
    EXPECT_EQ(verdict_on(open + data), "ended") << "bytes of no message";
    EXPECT_EQ(verdict_on(open + credit), "ended") << "credit beyond the window";
    EXPECT_EQ(verdict_on(open + finish), "alive");
    EXPECT_EQ(verdict_on(open + finish + finish), "ended") << "finished twice";
    EXPECT_EQ(verdict_on(open + finish + message_frame(1, 0, 0)), "ended") << "a message after the end";
    EXPECT_EQ(verdict_on(open + message_frame(1, 10, 10)), "alive");
    EXPECT_EQ(verdict_on(open + message_frame(1, 10, 10) + message_frame(1, 0, 0)), "ended") << "nested";
    EXPECT_EQ(verdict_on(open + message_frame(1, 10, 10) + finish), "ended") << "finished in a message";
    EXPECT_EQ(verdict_on(open + message_frame(1, kMaximumControlBytes + 1, 0)), "ended") << "too large";
    EXPECT_EQ(verdict_on(open + message_frame(1, 0, kMaximumPayloadBytes + 1)), "ended") << "too large";
}

TEST(HostileFrames, who_sends_more_than_its_credit_is_cut_off_at_the_bound) {
    Bytes bytes;
    append_frame(bytes, FrameType::open, 1, as_bytes("hold"));
    for (std::size_t i = 0; i < kFirstWindow / kMessageCost; ++i)
        bytes = std::move(bytes) + message_frame(1, 0, 0);
    FrameVictim victim;
    victim.feed(bytes);
    EXPECT_FALSE(victim.ended());
    EXPECT_EQ(victim.victim().unread_bytes(), kFirstWindow);
    victim.feed(message_frame(1, 0, 0));
    EXPECT_TRUE(victim.ended());
}

/// Opens a stream that the service begins to read, then fills it with messages of the largest payload.
Bytes opening_that_is_read(std::uint32_t stream) {
    Bytes bytes;
    append_frame(bytes, FrameType::open, stream, as_bytes("begin"));
    return bytes + message_frame(stream, 0, 0);
}

Bytes full_message(std::uint32_t stream) {
    Bytes bytes = message_frame(stream, 0, kMaximumPayloadBytes);
    const Bytes chunk(kMaximumPayloadBytes, 5);
    append_frame(bytes, FrameType::data, stream, chunk);
    return bytes;
}

constexpr std::size_t kFullCost = kMaximumPayloadBytes + kMessageCost;

TEST(HostileFrames, who_sends_more_than_its_whole_window_is_cut_off_at_the_bound) {
    FrameVictim victim;
    victim.feed(opening_that_is_read(1));
    victim.feed(full_message(1) + full_message(1));
    const std::size_t left =
        kMinimumWindow - kMessageCost - 2 * kFullCost;  // the first one counts until half
    Bytes bytes;
    for (std::size_t i = 0; i < left / kMessageCost; ++i) bytes = std::move(bytes) + message_frame(1, 0, 0);
    victim.feed(bytes);
    EXPECT_FALSE(victim.ended());
    victim.feed(message_frame(1, 0, 0));
    EXPECT_TRUE(victim.ended());
}

TEST(HostileFrames, unread_data_of_all_streams_together_is_bounded) {
    FrameVictim victim;
    for (std::uint32_t stream = 1; stream < 20; stream += 2) victim.feed(opening_that_is_read(stream));
    EXPECT_EQ(victim.victim().open_streams(), 11U);
    for (std::uint32_t stream = 1; stream < 20; stream += 2)
        victim.feed(full_message(stream) + message_frame(stream, 0, kMaximumPayloadBytes));
    EXPECT_LE(victim.victim().unread_bytes(), 4 * kMinimumWindow);
    EXPECT_GE(victim.victim().unread_bytes(), 4 * kMinimumWindow - 2 * kFullCost) << "up to the bound";
    EXPECT_LT(victim.victim().open_streams(), 11U) << "some were reset";
}

/// Strangers, each with a key of its own, who attack the same process.
class Crowd {
  public:
    explicit Crowd(std::size_t limit) : budget_(std::make_shared<MemoryBudget>(limit)) {}
    FrameVictim& join() { return members_.emplace_back(budget_); }
    const MemoryBudget& budget() const { return *budget_; }
    std::size_t alive() const {
        const auto ended =
            std::count_if(members_.begin(), members_.end(), [](const auto& m) { return m.ended(); });
        return members_.size() - static_cast<std::size_t>(ended);
    }

  private:
    std::shared_ptr<MemoryBudget> budget_;
    std::deque<FrameVictim> members_;
};

/// The victim's user has seen that it does its part.
void be_useful(FrameVictim& victim) {
    victim.feed(message_frame(2, 0, 0));
    EXPECT_FALSE(victim.victim().useful()) << "words alone, here on a stream that the victim has opened";
    victim.victim().mark_useful();
    EXPECT_TRUE(victim.victim().useful());
}

TEST(HostileFrames, strangers_under_any_number_of_keys_hold_no_more_than_the_budget_together) {
    constexpr std::size_t kLimit = 5 * kFullCost + 64 * 1024;
    Crowd crowd(kLimit);
    for (int i = 0; i < 12; ++i) {
        FrameVictim& stranger = crowd.join();
        for (std::uint32_t stream : {1U, 3U}) {
            stranger.feed(opening_that_is_read(stream));
            stranger.feed(full_message(stream));
            EXPECT_LE(crowd.budget().held(), kLimit);
        }
    }
    EXPECT_GE(crowd.budget().held(), kLimit - kFullCost - 64 * 1024) << "up to the bound";
}

TEST(HostileFrames, strangers_give_way_to_a_peer_that_was_useful_and_never_the_other_way_round) {
    Crowd crowd(3 * kFullCost + 128 * 1024);
    FrameVictim& useful = crowd.join();
    be_useful(useful);
    useful.feed(opening_that_is_read(1));
    useful.feed(full_message(1));
    const std::size_t before = useful.victim().unread_bytes();
    EXPECT_EQ(before, kFullCost);
    std::vector<FrameVictim*> strangers;
    for (int i = 0; i < 4; ++i) {
        strangers.push_back(&crowd.join());
        strangers.back()->feed(opening_that_is_read(1));
        strangers.back()->feed(full_message(1));
    }
    EXPECT_FALSE(useful.ended());
    EXPECT_EQ(useful.victim().unread_bytes(), before);
    EXPECT_EQ(crowd.alive(), 5U) << "equal strangers do not displace each other: the latest are refused";
    useful.feed(full_message(1));
    EXPECT_FALSE(useful.ended());
    EXPECT_EQ(useful.victim().unread_bytes(), 2 * kFullCost);
    EXPECT_EQ(crowd.alive(), 4U) << "one had to go";
    EXPECT_LE(crowd.budget().held(), crowd.budget().limit());
}

TEST(HostileFrames, the_stranger_that_takes_most_gives_way_to_one_that_asks_for_little) {
    Crowd crowd(2 * kFullCost + 32 * 1024);
    FrameVictim& greedy = crowd.join();
    for (std::uint32_t stream : {1U, 3U}) {
        greedy.feed(opening_that_is_read(stream));
        greedy.feed(full_message(stream));
    }
    EXPECT_FALSE(greedy.ended());
    FrameVictim& modest = crowd.join();
    modest.feed(opening_that_is_read(1));
    const Bytes words(30'000, 1);
    Bytes message = message_frame(1, 0, 30'000);
    append_frame(message, FrameType::data, 1, words);
    modest.feed(message);
    EXPECT_TRUE(greedy.ended());
    EXPECT_FALSE(modest.ended());
    EXPECT_EQ(modest.victim().unread_bytes(), words.size() + kMessageCost);
}

TEST(HostileFrames, who_makes_us_answer_and_takes_no_answer_is_given_up) {
    Bytes pings;
    for (std::uint64_t i = 0; i < 100'000; ++i) append_frame_u64(pings, FrameType::ping, 0, i);
    Crowd crowd(std::size_t{1} << 30);
    FrameVictim& victim = crowd.join();
    std::size_t most = 0;
    for (int i = 0; i < 40 && !victim.ended(); ++i) {  // 80 MB; the pipe holds 16 MiB, the outbox 8
        victim.flood(pings);
        most = std::max(most, crowd.budget().held());
    }
    EXPECT_TRUE(victim.ended());
    EXPECT_LE(most, (std::size_t{8} << 20) + pings.size()) << "what one read of the pipe brought on top";
}

TEST(HostileFrames, a_flood_of_opened_and_reset_streams_is_bounded) {
    FrameVictim victim;
    Bytes bytes;
    for (std::uint32_t stream = 1; stream < 2000; stream += 2) {
        append_frame(bytes, FrameType::open, stream, as_bytes("hold"));
        append_frame(bytes, FrameType::reset, stream);
    }
    victim.feed(bytes);
    EXPECT_LE(victim.victim().open_streams(), 17U);
}

class HostilePort : public ::testing::TestWithParam<Encryption> {};

INSTANTIATE_TEST_SUITE_P(WithAndWithoutEncryption, HostilePort,
                         ::testing::Values(Encryption::tls, Encryption::none),
                         [](const auto& value) { return value.param == Encryption::tls ? "tls" : "plain"; });

awaitable<void> send_garbage(World& world, std::uint16_t port, Bytes garbage) {
    const asio::ip::tcp::endpoint target(asio::ip::make_address("127.0.0.1"), port);
    asio::ip::tcp::socket socket(world.context);
    co_await socket.async_connect(target, asio::use_awaitable);
    std::error_code code;
    auto token = asio::redirect_error(asio::use_awaitable, code);
    co_await asio::async_write(socket, asio::buffer(garbage), token);
    socket.shutdown(asio::ip::tcp::socket::shutdown_send, code);
    std::array<char, 1000> answer{};
    code.clear();
    while (!code) co_await socket.async_read_some(asio::buffer(answer), token);
}

TEST_P(HostilePort, garbage_on_the_port_harms_nobody) {
    World world;
    NetworkSettings settings = World::settings();
    settings.encryption = GetParam();
    auto server = world.make(1, settings);
    auto client = world.make(2, settings);
    serve_calls(*server, world.clock, "echo", echo);
    introduce(*client, {{server->self(), endpoint_of(*server)}});
    auto task = [](World& w, Network& s, Network& c) -> awaitable<void> {
        Random random(4);
        const Bytes hello = to_bytes("shoal, plain, 1\n");
        const Bytes tls = {0x16, 0x03, 0x01, 0x00, 0xf0, 0x01, 0x00, 0x00, 0xec, 0x03, 0x03};
        for (int round = 0; round < 100; ++round) {
            Bytes garbage = round % 3 == 0 ? Bytes() : round % 3 == 1 ? hello : tls;
            garbage = std::move(garbage) + random_bytes(random, random.below(2000));
            co_await send_garbage(w, listen_port(s), std::move(garbage));
        }
        co_await call(c, w.clock, s.self(), "echo", Message(), w.soon());
        EXPECT_EQ(s.connections().size(), 1U);
    };
    world.run(task(world, *server, *client));
}

/// A stranger with a proper certificate who then says what it likes.
awaitable<void> speak_inside_tls(World& world, std::uint16_t port, Bytes first, Bytes then) {
    const asio::ip::tcp::endpoint target(asio::ip::make_address("127.0.0.1"), port);
    asio::ip::tcp::socket socket(world.context);
    co_await socket.async_connect(target, asio::use_awaitable);
    const TlsContext context = make_tls_context(World::key(66), false);
    TlsPipe pipe(std::move(socket), context.get(), false);
    co_await pipe.handshake();
    OutgoingBatch batch;
    try {
        for (Bytes* bytes : {&first, &then}) {
            batch.begin(*bytes);
            pipe.stage(batch);
            co_await pipe.flush(batch);
        }
        for (;;) co_await pipe.read();
    } catch (const Error&) {
        // The server has closed.
    }
}

TEST(HostilePeer, garbage_and_mutated_frames_inside_tls_harm_nobody) {
    World world;
    auto server = world.make(1);
    auto client = world.make(2);
    serve_calls(*server, world.clock, "echo", echo);
    introduce(*client, {{server->self(), endpoint_of(*server)}});
    auto task = [](World& w, Network& s, Network& c) -> awaitable<void> {
        Random random(5);
        Greeting greeting;
        Bytes hello;
        append_frame(hello, FrameType::hello, 0, serialise(greeting));
        TaskGroup group(w.context.get_executor());
        for (int round = 0; round < 60; ++round) {
            Bytes first = hello, then = good_conversation();
            if (round % 3 == 0) mutate(first, random);
            if (round % 3 == 1) mutate(then, random);
            if (round % 3 == 2) first = random_bytes(random, 1 + random.below(300));
            group.spawn(speak_inside_tls(w, listen_port(s), std::move(first), std::move(then)));
            if (group.running() >= 8) co_await group.join();
        }
        co_await group.join();
        co_await call(c, w.clock, s.self(), "echo", Message(), w.soon());
    };
    NetworkSettings hasty = World::settings();
    world.run(task(world, *server, *client));
}

TEST(HostileHello, mutated_hellos_are_refused_or_understood) {
    Random random(6);
    Greeting greeting;
    greeting.agreed = {{"run", "albert"}, {"target_batch_size", "512"}};
    greeting.agreed_hash = hash_of(greeting.agreed);
    const Bytes good = serialise(greeting);
    for (int round = 0; round < 5000; ++round) {
        Bytes bytes = good;
        mutate(bytes, random);
        try {
            const Greeting theirs = parse_greeting(bytes);
            const auto reason = disagreement(greeting, theirs);
            EXPECT_LT(reason.value_or("").size(), 1000U);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::protocol_violation);
        }
    }
}

}  // namespace
}  // namespace shoal::net
