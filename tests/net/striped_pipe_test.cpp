// Several connections as one pipe: all bytes in order, whatever each connection does.
#include "shoal/net/striped_pipe.h"

#include "net/net_testing.h"

#include <array>

#include "shoal/base/random.h"
#include "shoal/net/frame.h"
#include "shoal/net/memory_pipe.h"

namespace shoal::net {
namespace {

using namespace testing;

constexpr std::size_t kLanes = 3;

/// Both ends, and the lanes below them.
struct Ends {
    std::unique_ptr<StripedPipe> here, there;
    std::vector<MemoryPipe*> lanes_here, lanes_there;
};

/// @param capacity  bytes that each lane holds.
Ends make_ends(const asio::any_io_executor& executor, std::size_t capacity) {
    Ends ends;
    std::vector<StripedPipe::Lane> here, there;
    for (std::size_t i = 0; i < kLanes; ++i) {
        auto [a, b] = MemoryPipe::make_pair(executor, capacity);
        ends.lanes_here.push_back(a.get());
        ends.lanes_there.push_back(b.get());
        here.emplace_back(std::move(a), Bytes());
        there.emplace(there.begin(), std::move(b), Bytes());  // another order
    }
    ends.here = std::make_unique<StripedPipe>(executor, std::move(here));
    ends.there = std::make_unique<StripedPipe>(executor, std::move(there));
    return ends;
}

awaitable<void> send(BytePipe& pipe, Bytes bytes) {
    OutgoingBatch batch;
    batch.begin(bytes);
    pipe.stage(batch);
    co_await pipe.flush(batch);
    EXPECT_TRUE(batch.empty());
}

/// Batches of all sizes, and then the end.
awaitable<void> send_all(BytePipe& pipe, Bytes bytes, std::uint64_t seed) {
    Random random(seed);
    for (std::size_t sent = 0; sent < bytes.size();) {
        const std::size_t size = std::min<std::size_t>(
            bytes.size() - sent, 1 + random.below(random.below(3) == 0 ? 300'000 : 100));
        const auto start = bytes.begin() + static_cast<std::ptrdiff_t>(sent);
        co_await send(pipe, Bytes(start, start + static_cast<std::ptrdiff_t>(size)));
        sent += size;
    }
    pipe.finish();
}

/// Everything until the other side has finished.
awaitable<Bytes> read_all(BytePipe& pipe) {
    Bytes all;
    try {
        for (;;) {
            const ByteView more = co_await pipe.read();
            EXPECT_FALSE(more.empty());
            all.insert(all.end(), more.begin(), more.end());
        }
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::connection_lost);
        EXPECT_TRUE(contains(error.what(), "it closed the connection")) << error.what();
    }
    co_return all;
}

TEST(StripedPipe, all_bytes_arrive_in_order_both_ways_and_each_lane_carries_a_part) {
    World world;
    for (const std::size_t capacity : {std::size_t{1000}, std::size_t{70'000}, std::size_t{1} << 20}) {
        const Ends ends = make_ends(world.context.get_executor(), capacity);
        const Bytes forth = pattern(5'000'000, 1), back = pattern(3'000'000, 2);
        auto both = [&]() -> awaitable<void> {
            TaskGroup all(world.context.get_executor());
            Bytes arrived, came_back;
            auto read_there = [&]() -> awaitable<void> { arrived = co_await read_all(*ends.there); };
            auto read_here = [&]() -> awaitable<void> { came_back = co_await read_all(*ends.here); };
            all.spawn(send_all(*ends.here, forth, capacity));
            all.spawn(send_all(*ends.there, back, capacity + 1));
            all.spawn(read_there());
            all.spawn(read_here());
            co_await all.join();
            EXPECT_TRUE(arrived == forth);
            EXPECT_TRUE(came_back == back);
        };
        world.run(both());
        for (const MemoryPipe* lane : ends.lanes_here) EXPECT_GT(lane->bytes_sent(), forth.size() / 10);
        EXPECT_EQ(ends.here->bytes_sent(), ends.there->bytes_received());
        EXPECT_GT(ends.here->bytes_sent(), forth.size());
    }
}

TEST(StripedPipe, a_lane_that_nobody_serves_holds_up_its_own_segment_only_at_the_reader) {
    World world;
    const Ends ends = make_ends(world.context.get_executor(), std::size_t{1} << 20);
    ends.lanes_here[1]->stall();
    auto task = [&]() -> awaitable<void> {
        // The first lane takes the first segment, the stalled one the second.
        co_await send(*ends.here, pattern(2 * StripedPipe::kSegmentBytes));
        const ByteView first = co_await ends.there->read();
        EXPECT_EQ(first.size(), StripedPipe::kSegmentBytes);
        bool read_more = false;
        auto reading = [&]() -> awaitable<void> {
            co_await ends.there->read();
            read_more = true;
        };
        TaskGroup tasks(world.context.get_executor());
        tasks.spawn(reading());
        // Everything else goes on over the other lanes.
        for (int i = 0; i < 10; ++i) co_await send(*ends.here, pattern(1000));
        EXPECT_FALSE(read_more);
        ends.there->close();
        co_await tasks.settle();
        EXPECT_FALSE(read_more);
    };
    world.run(task());
}

TEST(StripedPipe, breaks_when_one_lane_breaks) {
    World world;
    const Ends ends = make_ends(world.context.get_executor(), 100'000);
    auto task = [&]() -> awaitable<void> {
        ends.lanes_there[2]->close();
        const Error reading = co_await error_of(ends.here->read());
        EXPECT_EQ(reading.kind(), ErrorKind::connection_lost);
        const Error writing = co_await error_of(send(*ends.here, pattern(10)));
        EXPECT_EQ(writing.kind(), ErrorKind::connection_lost);
    };
    world.run(task());
}

TEST(StripedPipe, close_ends_what_waits) {
    World world;
    const Ends ends = make_ends(world.context.get_executor(), 1000);
    auto task = [&]() -> awaitable<void> {
        std::optional<Error> reading, writing;
        auto read = [&]() -> awaitable<void> { reading = co_await error_of(ends.here->read()); };
        auto write = [&]() -> awaitable<void> {
            writing = co_await error_of(send(*ends.here, pattern(1'000'000)));
        };
        TaskGroup tasks(world.context.get_executor());
        tasks.spawn(read());
        tasks.spawn(write());
        auto full = [&] { return ends.here->bytes_sent() >= 3000; };
        co_await until(full);
        ends.here->close();
        co_await tasks.join();
        EXPECT_EQ(reading->kind(), ErrorKind::cancelled);
        EXPECT_EQ(writing->kind(), ErrorKind::cancelled);
    };
    world.run(task());
}

/// A pipe whose other ends are in the hands of a stranger.
struct Victim {
    explicit Victim(const asio::any_io_executor& executor) {
        std::vector<StripedPipe::Lane> lanes;
        for (std::size_t i = 0; i < kLanes; ++i) {
            auto [a, b] = MemoryPipe::make_pair(executor, std::size_t{1} << 20);
            lanes.emplace_back(std::move(a), Bytes());
            stranger.push_back(std::move(b));
        }
        pipe = std::make_unique<StripedPipe>(executor, std::move(lanes));
    }
    std::unique_ptr<StripedPipe> pipe;
    std::vector<std::unique_ptr<MemoryPipe>> stranger;
};

Bytes segment(std::uint32_t number, std::uint32_t length, Bytes body) {
    Bytes bytes(8);
    put_u32(bytes.data(), number);
    put_u32(bytes.data() + 4, length);
    bytes.insert(bytes.end(), body.begin(), body.end());
    return bytes;
}

TEST(StripedPipe, refuses_a_segment_that_is_too_long_and_takes_the_longest_one) {
    World world;
    Victim victim(world.context.get_executor());
    auto task = [&]() -> awaitable<void> {
        const Bytes body = pattern(StripedPipe::kSegmentBytes);
        co_await send(*victim.stranger[1], segment(0, StripedPipe::kSegmentBytes, body));
        const ByteView read = co_await victim.pipe->read();
        EXPECT_TRUE(Bytes(read.begin(), read.end()) == body);
        co_await send(*victim.stranger[1], segment(1, StripedPipe::kSegmentBytes + 1, Bytes()));
        const Error error = co_await error_of(victim.pipe->read());
        EXPECT_EQ(error.kind(), ErrorKind::protocol_violation);
    };
    world.run(task());
}

TEST(StripedPipe, numbers_that_do_not_fit_are_never_read_and_take_no_memory) {
    World world;
    Victim victim(world.context.get_executor());
    auto task = [&]() -> awaitable<void> {
        // 1 twice and a far one, but no 0.
        co_await send(*victim.stranger[0], segment(1, 3, to_bytes("one")));
        co_await send(*victim.stranger[1], segment(1, 3, to_bytes("eno")));
        co_await send(*victim.stranger[2], segment(0x80000000U, 3, to_bytes("far")));
        co_await send(*victim.stranger[2], pattern(500'000));
        bool read = false;
        auto reading = [&]() -> awaitable<void> {
            co_await victim.pipe->read();
            read = true;
        };
        TaskGroup tasks(world.context.get_executor());
        tasks.spawn(reading());
        auto received = [&] { return victim.pipe->bytes_received() > 20; };
        co_await until(received);
        EXPECT_FALSE(read);
        victim.pipe->close();
        co_await tasks.settle();
    };
    world.run(task());
}

TEST(StripedPipe, a_segment_may_come_byte_by_byte_and_begin_in_what_the_handshake_read) {
    World world;
    auto [here, there] = MemoryPipe::make_pair(world.context.get_executor(), 1);
    const Bytes whole = segment(0, 5, to_bytes("hello"));
    std::vector<StripedPipe::Lane> lanes;
    lanes.emplace_back(std::move(here), Bytes(whole.begin(), whole.begin() + 3));
    StripedPipe pipe(world.context.get_executor(), std::move(lanes));
    auto task = [&]() -> awaitable<void> {
        TaskGroup sending(world.context.get_executor());
        sending.spawn(send(*there, Bytes(whole.begin() + 3, whole.end())));
        Bytes all;
        while (all.size() < 5) {
            const ByteView more = co_await pipe.read();
            all.insert(all.end(), more.begin(), more.end());
        }
        EXPECT_EQ(as_text(all), "hello");
        co_await sending.join();
    };
    world.run(task());
}

}  // namespace
}  // namespace shoal::net
