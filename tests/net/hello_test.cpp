// The conversation that begins a connection: peers that must not talk say why.
#include "shoal/net/hello.h"

#include "net/net_testing.h"

#include "shoal/net/memory_pipe.h"

namespace shoal::net {
namespace {

using namespace testing;

struct Outcome {
    std::string dialler, acceptor;  ///< what each is told; "agreed" if it may talk
};

using Handshake = std::function<awaitable<Agreement>()>;

awaitable<void> hold(Handshake handshake, std::string& said) {
    try {
        awaitable<Agreement> greeting = handshake();
        co_await std::move(greeting);
        said = "agreed";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::refused) << error.what();
        said = error.what();
    }
}

Outcome meet(const Greeting& dialler, const Greeting& acceptor) {
    World world;
    Outcome outcome;
    auto task = [](World& w, Greeting ours, Greeting theirs, Outcome& result) -> awaitable<void> {
        auto [near, far] = MemoryPipe::make_pair(w.context.get_executor());
        TaskGroup group(w.context.get_executor());
        BytePipe &here = *near, &there = *far;
        Handshake dial = [&here, &ours] { return greet_as_dialler(here, ours); };
        Handshake accept = [&there, &theirs] {
            return greet_as_acceptor(there, theirs, [](const Greeting&) { return std::nullopt; });
        };
        group.spawn(hold(std::move(dial), result.dialler));
        group.spawn(hold(std::move(accept), result.acceptor));
        co_await group.join();
    };
    world.run(task(world, dialler, acceptor, outcome));
    return outcome;
}

TEST(Hello, peers_of_the_same_protocol_version_agree) {
    const Outcome outcome = meet(Greeting(), Greeting());
    EXPECT_EQ(outcome.dialler, "agreed");
    EXPECT_EQ(outcome.acceptor, "agreed");
}

TEST(Hello, peers_of_different_protocol_versions_refuse_each_other_and_both_name_both_versions) {
    Greeting newer;
    newer.protocol_version = kProtocolVersion + 1;
    const std::string now = std::to_string(kProtocolVersion), later = std::to_string(kProtocolVersion + 1);
    const std::string older_says =
        "the protocol version differs: ours " + now + ", theirs " + later + "; update the older Shoal";
    const std::string newer_says =
        "the protocol version differs: ours " + later + ", theirs " + now + "; update the older Shoal";

    const Outcome dialled_by_older = meet(Greeting(), newer);
    EXPECT_EQ(dialled_by_older.dialler, older_says);
    EXPECT_EQ(dialled_by_older.acceptor, "refused: " + newer_says);
    const Outcome dialled_by_newer = meet(newer, Greeting());
    EXPECT_EQ(dialled_by_newer.dialler, newer_says);
    EXPECT_EQ(dialled_by_newer.acceptor, "refused: " + older_says);
}

TEST(Hello, a_peer_asks_which_instance_of_itself_is_at_the_other_end) {
    World world;
    Greeting ours, theirs;
    ours.instance = 1;
    theirs.instance = 2;
    auto task = [](World& w, Greeting asking, Greeting asked) -> awaitable<void> {
        auto [near, far] = MemoryPipe::make_pair(w.context.get_executor());
        TaskGroup group(w.context.get_executor());
        BytePipe& there = *far;
        std::string said;
        Handshake accept = [&there, &asked] {
            return greet_as_acceptor(there, asked, [](const Greeting&) { return "is this peer itself"; });
        };
        group.spawn(hold(std::move(accept), said));
        const std::uint64_t instance = co_await ask_instance(*near, asking);
        EXPECT_EQ(instance, 2U);
        co_await group.join();
        EXPECT_EQ(said, "refused: is this peer itself");
    };
    world.run(task(world, ours, theirs));
}

}  // namespace
}  // namespace shoal::net
