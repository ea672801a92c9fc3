// Streams, credits, turns and keep-alive, over a pipe in memory.
#include "shoal/net/multiplexer.h"

#include "net/net_testing.h"

#include <numeric>

#include "shoal/net/memory_pipe.h"

namespace shoal::net {
namespace {

using namespace testing;

/// Two multiplexers that talk to each other; `b` collects the streams that `a` opens.
class Pair {
  public:
    explicit Pair(World& world, Terms terms = Terms()) : accepted_(world.context.get_executor()) {
        auto [left, right] = MemoryPipe::make_pair(world.context.get_executor());
        a_pipe = left.get();
        b_pipe = right.get();
        const asio::any_io_executor executor = world.context.get_executor();
        a = std::make_shared<Multiplexer>(executor, world.clock, std::move(left), World::id(2), true, terms,
                                          [](StreamPointer, std::string) {});
        b = std::make_shared<Multiplexer>(
            executor, world.clock, std::move(right), World::id(1), false, terms,
            [this](StreamPointer stream, std::string) { accepted_.push(stream); });
        asio::co_spawn(executor, run(a, a_cause), asio::detached);
        asio::co_spawn(executor, run(b, b_cause), asio::detached);
    }

    awaitable<StreamPointer> accept() { return accepted_.pop(); }

    std::shared_ptr<Multiplexer> a, b;
    MemoryPipe* a_pipe;
    MemoryPipe* b_pipe;
    std::string a_cause, b_cause;  // empty until the connection has ended

  private:
    static awaitable<void> run(std::shared_ptr<Multiplexer> multiplexer, std::string& cause) {
        cause = co_await multiplexer->run(Bytes());
    }
    Mailbox<StreamPointer> accepted_;
};

class Multiplexing : public ::testing::Test {
  protected:
    World world;
};

awaitable<void> write_all(StreamPointer stream, std::vector<Bytes> payloads) {
    for (const Bytes& payload : payloads) co_await stream->write(as_bytes("control"), payload);
    stream->finish();
}

awaitable<void> expect_all(StreamPointer stream, std::vector<Bytes> payloads) {
    for (const Bytes& payload : payloads) {
        const std::optional<Message> message = co_await stream->read();
        EXPECT_TRUE(message.has_value());
        if (!message) co_return;
        EXPECT_EQ(as_text(message->control), "control");
        EXPECT_TRUE(message->payload == payload);
    }
    const std::optional<Message> end = co_await stream->read();
    EXPECT_FALSE(end.has_value());
}

/// Begins to read, so that the stream has its whole window.
awaitable<void> read_one(StreamPointer stream) {
    try {
        co_await stream->read();
    } catch (const Error&) {
        // The stream or the connection ended.
    }
}

TEST_F(Multiplexing, messages_of_all_sizes_arrive_whole_and_in_order_both_ways) {
    Pair pair(world);
    std::vector<Bytes> payloads;
    for (std::size_t size :
         {0UL, 1UL, 100UL, 4000UL, 4090UL, 65535UL, 65536UL, 65537UL, 300000UL, kMaximumPayloadBytes})
        payloads.push_back(pattern(size, static_cast<std::uint32_t>(size)));
    auto task = [](World& w, Pair& p, std::vector<Bytes> messages) -> awaitable<void> {
        const StreamPointer out = p.a->open("x");
        const StreamPointer in = co_await p.accept();
        TaskGroup group(w.context.get_executor());
        group.spawn(write_all(out, messages));
        group.spawn(write_all(in, messages));
        group.spawn(expect_all(out, messages));
        group.spawn(expect_all(in, messages));
        co_await group.join();
        EXPECT_EQ(p.a->open_streams(), 0U);
        EXPECT_EQ(p.b->open_streams(), 0U);
        EXPECT_EQ(p.b->unread_bytes(), 0U);
    };
    world.run(task(world, pair, payloads));
}

TEST_F(Multiplexing, a_thousand_streams_work_at_once) {
    Pair pair(world);
    auto task = [](World& w, Pair& p) -> awaitable<void> {
        TaskGroup group(w.context.get_executor());
        std::vector<StreamPointer> out, in;
        for (int i = 0; i < 1000; ++i) {
            out.push_back(p.a->open("x"));
            in.push_back(co_await p.accept());
        }
        EXPECT_EQ(p.a->open_streams(), 1000U);
        EXPECT_EQ(p.b->open_streams(), 1000U);
        for (std::uint32_t i = 0; i < 1000; ++i) {
            const std::vector<Bytes> messages(3, pattern(5000, i));
            group.spawn(write_all(out[i], messages));
            group.spawn(expect_all(in[i], messages));
            group.spawn(write_all(in[i], messages));
            group.spawn(expect_all(out[i], messages));
        }
        co_await group.join();
        EXPECT_EQ(p.a->open_streams(), 0U);
        EXPECT_EQ(p.b->open_streams(), 0U);
    };
    world.run(task(world, pair));
}

TEST_F(Multiplexing, a_writer_stops_exactly_at_the_first_window_of_a_service_that_does_not_begin_to_read) {
    Pair pair(world);
    static constexpr std::size_t kPayload = kFirstWindow / 4 - kMessageCost;
    auto task = [](World& w, Pair& p) -> awaitable<void> {
        auto writer = [](StreamPointer stream, std::size_t& written) -> awaitable<void> {
            const Bytes payload(kPayload, 1);
            for (;;) {
                co_await stream->write(ByteView(), payload);
                ++written;
            }
        };
        std::size_t written = 0;
        const StreamPointer out = p.a->open("x");
        const StreamPointer in = co_await p.accept();
        TaskGroup group(w.context.get_executor());
        group.spawn(writer(out, written));
        auto full = [&] { return p.b->unread_bytes() == kFirstWindow; };
        co_await until(full);
        // A round trip through another stream shows that nothing more is coming.
        const StreamPointer other = p.a->open("y");
        const StreamPointer other_in = co_await p.accept();
        TaskGroup others(w.context.get_executor());
        const std::vector<Bytes> messages(5, pattern(200'000));
        others.spawn(write_all(other, messages));
        others.spawn(expect_all(other_in, messages));
        co_await others.join();
        EXPECT_EQ(written, 4U);
        EXPECT_EQ(p.b->unread_bytes(), kFirstWindow);
        // What we read on a stream of our own has the whole window at once.
        TaskGroup answers(w.context.get_executor());
        std::size_t answered = 0;
        answers.spawn(writer(in, answered));
        auto beyond = [&] { return p.a->unread_bytes() > kMinimumWindow; };
        co_await until(beyond);
        co_await in->read();
        auto further = [&] { return written > 5; };
        co_await until(further);
        group.cancel();
        answers.cancel();
        co_await group.settle();
        co_await answers.settle();
    };
    world.run(task(world, pair));
}

TEST_F(Multiplexing, a_first_message_larger_than_the_first_window_comes_when_it_is_read) {
    Pair pair(world);
    auto task = [](World& w, Pair& p) -> awaitable<void> {
        const StreamPointer out = p.a->open("x");
        const StreamPointer in = co_await p.accept();
        TaskGroup group(w.context.get_executor());
        const std::vector<Bytes> messages(1, pattern(kMaximumPayloadBytes));
        group.spawn(write_all(out, messages));
        group.spawn(expect_all(in, messages));
        co_await group.join();
    };
    world.run(task(world, pair));
}

TEST_F(Multiplexing, a_writer_stops_exactly_at_the_window_of_a_reader_that_reads_no_further) {
    Terms terms;
    terms.our_window = terms.their_window = kMinimumWindow;
    Pair pair(world, terms);
    static constexpr std::size_t kPayload = 100'000;
    static constexpr std::size_t kFit =
        kMinimumWindow / (kPayload + kMessageCost) - 1;  // beside the one read
    auto task = [](World& w, Pair& p) -> awaitable<void> {
        auto writer = [](StreamPointer stream, std::size_t& written) -> awaitable<void> {
            const Bytes payload(kPayload, 1);
            for (;;) {
                co_await stream->write(ByteView(), payload);
                ++written;
            }
        };
        std::size_t written = 0;
        const StreamPointer out = p.a->open("x");
        const StreamPointer in = co_await p.accept();
        TaskGroup group(w.context.get_executor());
        group.spawn(writer(out, written));
        co_await in->read();
        auto condition_0 = [&] { return p.b->unread_bytes() == kFit * (kPayload + kMessageCost); };
        co_await until(condition_0);
        EXPECT_EQ(written, kFit + 1);
        // Another stream is not held up, and a round trip through it shows that nothing more is coming.
        const StreamPointer other = p.a->open("y");
        const StreamPointer other_in = co_await p.accept();
        TaskGroup others(w.context.get_executor());
        const std::vector<Bytes> messages(5, pattern(200'000));
        others.spawn(write_all(other, messages));
        others.spawn(expect_all(other_in, messages));
        co_await others.join();
        EXPECT_EQ(written, kFit + 1);
        EXPECT_EQ(p.b->unread_bytes(), kFit * (kPayload + kMessageCost));
        // Reading half a window lets it go on.
        for (std::size_t i = 0; i < kFit; ++i) co_await in->read();
        auto condition_1 = [&] { return written > kFit + 1; };
        co_await until(condition_1);
        group.cancel();
        co_await group.settle();
    };
    world.run(task(world, pair));
}

TEST_F(Multiplexing, small_messages_overtake_large_ones_on_other_streams) {
    Pair pair(world);
    auto task = [](World& w, Pair& p) -> awaitable<void> {
        auto bulk = [](StreamPointer stream) -> awaitable<void> {
            const Bytes payload(kMaximumPayloadBytes, 1);
            for (;;) co_await stream->write(ByteView(), payload);
        };
        TaskGroup group(w.context.get_executor());
        std::vector<StreamPointer> keep;
        for (int i = 0; i < 3; ++i) {
            keep.push_back(p.a->open("bulk"));
            keep.push_back(co_await p.accept());
            group.spawn(bulk(keep[keep.size() - 2]));
            group.spawn(read_one(keep.back()));
        }
        const StreamPointer small = p.a->open("small");
        const StreamPointer small_in = co_await p.accept();
        const std::uint64_t before = p.a_pipe->bytes_sent();
        co_await small->write(as_bytes("now"), ByteView());
        co_await small_in->read();
        // At most what the pipe held, the batch under way and one more went before it.
        EXPECT_LE(p.a_pipe->bytes_sent() - before, 3U * 256 * 1024 + 3 * kChunkBytes);
        group.cancel();
        co_await group.settle();
    };
    world.run(task(world, pair));
}

TEST_F(Multiplexing, large_messages_take_turns_chunk_by_chunk) {
    Pair pair(world);
    auto task = [](World& w, Pair& p) -> awaitable<void> {
        const Bytes payload(kMaximumPayloadBytes, 1);
        auto one = [](StreamPointer stream, const Bytes& bytes, int number,
                      std::vector<int>& order) -> awaitable<void> {
            co_await stream->write(ByteView(), bytes);
            order.push_back(number);
        };
        std::vector<int> order;
        std::vector<StreamPointer> keep;
        TaskGroup group(w.context.get_executor());
        for (int i = 0; i < 4; ++i) {
            keep.push_back(p.a->open("bulk"));
            group.spawn(one(keep.back(), payload, i, order));
            keep.push_back(co_await p.accept());
            group.spawn(read_one(keep.back()));
        }
        // All four end within the last chunks; without turns the first would be done before the last had
        // begun.
        auto condition_2 = [&] { return !order.empty(); };
        co_await until(condition_2);
        EXPECT_GE(p.a_pipe->bytes_sent(), 4 * (kMaximumPayloadBytes - 2 * 256 * 1024));
        co_await group.join();
        EXPECT_EQ(order.size(), 4U);
    };
    world.run(task(world, pair));
}

TEST_F(Multiplexing, a_writer_cancelled_in_a_large_message_resets_its_stream_and_no_other) {
    Pair pair(world);
    auto task = [](World& w, Pair& p) -> awaitable<void> {
        auto write_on = [](StreamPointer stream) -> awaitable<void> {
            for (;;) {
                // The payload dies with this coroutine: AddressSanitizer sees whoever looks at it later.
                const Bytes payload(kMaximumPayloadBytes, 1);
                co_await stream->write(ByteView(), payload);
            }
        };
        auto read_on = [](StreamPointer stream, std::optional<Error>& end) -> awaitable<void> {
            try {
                for (;;) co_await stream->read();
            } catch (const Error& error) {
                end = error;
            }
        };
        for (int round = 0; round < 20; ++round) {
            StreamPointer out = p.a->open("x");
            const StreamPointer in = co_await p.accept();
            const StreamPointer other = p.a->open("y");
            const StreamPointer other_in = co_await p.accept();
            TaskGroup writer(w.context.get_executor());
            TaskGroup others(w.context.get_executor());
            std::optional<Error> end;
            others.spawn(read_on(in, end));
            const std::vector<Bytes> messages(2, pattern(500'000));
            others.spawn(write_all(other, messages));
            others.spawn(expect_all(other_in, messages));
            const std::uint64_t wanted = p.a_pipe->bytes_sent() + static_cast<std::uint64_t>(round) * 50'000;
            writer.spawn(write_on(out));
            while (p.a_pipe->bytes_sent() < wanted) co_await asio::post(asio::use_awaitable);
            writer.cancel();
            co_await writer.settle();
            out.reset();
            co_await others.join();
            EXPECT_EQ(end->kind(), ErrorKind::refused);
        }
        auto condition_3 = [&] { return p.b->open_streams() == 0; };
        co_await until(condition_3);
        EXPECT_EQ(p.a->open_streams(), 0U);
        EXPECT_EQ(p.b->unread_bytes(), 0U);
    };
    world.run(task(world, pair));
}

TEST_F(Multiplexing, reset_ends_both_directions_with_the_reason) {
    Pair pair(world);
    auto task = [](Pair& p) -> awaitable<void> {
        const StreamPointer out = p.a->open("x");
        const StreamPointer in = co_await p.accept();
        in->reset("not today");
        const Error reading = co_await error_of(out->read());
        EXPECT_EQ(reading.kind(), ErrorKind::refused);
        EXPECT_TRUE(contains(reading.what(), "not today")) << reading.what();
        EXPECT_EQ(reading.peer(), World::id(2).short_name());
        const Error writing = co_await error_of(out->write(ByteView(), ByteView()));
        EXPECT_EQ(writing.kind(), ErrorKind::refused);
        EXPECT_EQ(p.a->open_streams(), 0U);
        EXPECT_EQ(p.b->open_streams(), 0U);
    };
    world.run(task(pair));
}

TEST_F(Multiplexing, dropping_a_stream_resets_it_but_what_was_finished_stays_readable) {
    Pair pair(world);
    auto task = [](Pair& p) -> awaitable<void> {
        StreamPointer out = p.a->open("x");
        StreamPointer in = co_await p.accept();
        co_await in->write(as_bytes("answer"), ByteView());
        in->finish();
        in.reset();
        const std::optional<Message> answer = co_await out->read();
        EXPECT_TRUE(answer.has_value());
        const std::optional<Message> end = co_await out->read();
        EXPECT_FALSE(end.has_value());

        out = p.a->open("x");
        in = co_await p.accept();
        in.reset();
        const Error error = co_await error_of(out->read());
        EXPECT_EQ(error.kind(), ErrorKind::refused);
    };
    world.run(task(pair));
}

TEST_F(Multiplexing, one_stream_too_many_is_refused) {
    Terms terms;
    terms.our_streams = terms.their_streams = 10;
    Pair pair(world, terms);
    auto task = [](Pair& p) -> awaitable<void> {
        std::vector<StreamPointer> streams;
        for (int i = 0; i < 10; ++i) streams.push_back(p.a->open("x"));
        EXPECT_THROW(p.a->open("x"), Error);
        streams.pop_back();
        streams.push_back(p.a->open("x"));  // there is room again
        co_return;
    };
    world.run(task(pair));
}

TEST_F(Multiplexing, a_message_that_is_too_large_is_the_callers_error) {
    Pair pair(world);
    auto task = [](Pair& p) -> awaitable<void> {
        const StreamPointer out = p.a->open("x");
        const Bytes large(kMaximumPayloadBytes + 1);
        const Error error = co_await error_of(out->write(ByteView(), large));
        EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        const Bytes control(kMaximumControlBytes + 1);
        const Error other = co_await error_of(out->write(control, ByteView()));
        EXPECT_EQ(other.kind(), ErrorKind::invalid_argument);
    };
    world.run(task(pair));
}

TEST_F(Multiplexing, a_cut_connection_fails_all_streams_with_the_cause) {
    Pair pair(world);
    auto task = [](World& w, Pair& p) -> awaitable<void> {
        auto bulk = [](StreamPointer stream, std::optional<Error>& failure) -> awaitable<void> {
            const Bytes payload(kMaximumPayloadBytes, 1);
            try {
                for (;;) co_await stream->write(ByteView(), payload);
            } catch (const Error& error) {
                failure = error;
            }
        };
        const StreamPointer out = p.a->open("x");
        const StreamPointer in = co_await p.accept();
        std::optional<Error> failure;
        TaskGroup group(w.context.get_executor());
        group.spawn(bulk(out, failure));
        group.spawn(read_one(in));
        auto condition_4 = [&] { return p.a_pipe->bytes_sent() > 300'000; };
        co_await until(condition_4);
        p.b_pipe->close();
        co_await group.join();
        EXPECT_EQ(failure->kind(), ErrorKind::connection_lost);
        EXPECT_TRUE(contains(failure->what(), "closed the connection")) << failure->what();
        auto condition_5 = [&] { return !p.a_cause.empty() && !p.b_cause.empty(); };
        co_await until(condition_5);
        const Error opening = co_await error_of([](Pair& q) -> awaitable<void> {
            q.a->open("x");
            co_return;
        }(p));
        EXPECT_EQ(opening.kind(), ErrorKind::connection_lost);
    };
    world.run(task(world, pair));
}

TEST_F(Multiplexing, goodbye_tells_the_other_side_why) {
    Pair pair(world);
    auto task = [](Pair& p) -> awaitable<void> {
        const StreamPointer out = p.a->open("x");
        p.a->close("time to go");
        auto condition_6 = [&] { return !p.a_cause.empty() && !p.b_cause.empty(); };
        co_await until(condition_6);
        EXPECT_EQ(p.a_cause, "time to go");
        EXPECT_TRUE(contains(p.b_cause, "time to go")) << p.b_cause;
    };
    world.run(task(pair));
}

TEST_F(Multiplexing, a_peer_that_falls_silent_is_lost_after_its_time) {
    Terms terms;
    terms.ping_interval = 20ms;
    terms.peer_timeout = 100ms;
    Pair pair(world, terms);
    auto task = [](World& w, Pair& p) -> awaitable<void> {
        auto condition_7 = [&] { return p.a->info().round_trip > 0ns; };
        co_await until(condition_7);
        const TimePoint before = w.clock.now();
        p.b_pipe->stall();
        auto condition_8 = [&] { return !p.a_cause.empty(); };
        co_await until(condition_8);
        EXPECT_GE(w.clock.now() - before, 75ms);
        EXPECT_TRUE(contains(p.a_cause, "silent for")) << p.a_cause;
    };
    world.run(task(world, pair));
}

TEST_F(Multiplexing, an_idle_connection_stays_alive) {
    Terms terms;
    terms.ping_interval = 5ms;
    terms.peer_timeout = 1s;
    Pair pair(world, terms);
    auto task = [](Pair& p) -> awaitable<void> {
        const std::uint64_t before = p.a_pipe->bytes_received();
        auto condition_9 = [&] { return p.a_pipe->bytes_received() > before + 20 * (kFrameHeaderBytes + 8); };
        co_await until(condition_9);
        EXPECT_TRUE(p.a->alive());
    };
    world.run(task(pair));
}

}  // namespace
}  // namespace shoal::net
