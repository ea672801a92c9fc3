// Real UDP sockets on loopback.
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>
#include <gtest/gtest.h>

#include "shoal/base/async.h"
#include "shoal/base/random.h"
#include "shoal/dht/opendht_directory.h"
#include "shoal/dht/opendht_node.h"

namespace shoal::dht {
namespace {

using namespace std::chrono_literals;
using Values = std::vector<std::string>;

/// Directories in one process, on one thread.
class Swarm {
  public:
    ~Swarm() {
        for (const auto& node : nodes) node->shut_down();
        context.restart();
        context.poll();
    }

    std::shared_ptr<OpenDhtDirectory> add(const std::vector<std::shared_ptr<OpenDhtDirectory>>& known = {}) {
        OpenDhtSettings settings = make_settings();
        for (const auto& node : known) settings.bootstrap.push_back({"127.0.0.1", node->port()});
        return add(settings);
    }

    std::shared_ptr<OpenDhtDirectory> add(OpenDhtSettings settings) {
        auto key = std::make_shared<KeyPair>(KeyPair::generate());
        nodes.push_back(
            make_opendht_directory(context.get_executor(), clock, key, std::move(settings), Log()));
        return nodes.back();
    }

    static OpenDhtSettings make_settings() {
        OpenDhtSettings settings;
        settings.run = "test";
        settings.listen_host = "127.0.0.1";
        settings.limit_rate = false;
        settings.refuse_foreign_types = false;
        return settings;
    }

    template <typename T>
    T run(awaitable<T> work) {
        std::exception_ptr error;
        std::optional<T> result;
        bool ended = false;
        asio::co_spawn(context, std::move(work), [&](std::exception_ptr failure, T value) {
            error = failure;
            result = std::move(value);
            ended = true;
        });
        context.restart();
        while (!ended) context.run_one();
        if (error) std::rethrow_exception(error);
        return std::move(*result);
    }

    void run(awaitable<void> work) {
        std::exception_ptr error;
        bool ended = false;
        asio::co_spawn(context, std::move(work), [&](std::exception_ptr failure) {
            error = failure;
            ended = true;
        });
        context.restart();
        while (!ended) context.run_one();
        if (error) std::rethrow_exception(error);
    }

    /// Runs until the condition holds; false after 20 s.
    bool wait_until(const std::function<bool()>& condition) {
        const auto deadline = std::chrono::steady_clock::now() + 20s;
        context.restart();
        while (!condition()) {
            if (std::chrono::steady_clock::now() > deadline) return false;
            context.run_one_for(50ms);
        }
        return true;
    }

    bool wait_for_nodes(std::size_t others) {
        return wait_until([&] {
            for (const auto& node : nodes)
                if (node->status().nodes < others) return false;
            return true;
        });
    }

    void publish(OpenDhtDirectory& directory, const std::string& value, Duration life = 60s,
                 const std::string& key = "test/key") {
        run(directory.publish(key, "", to_bytes(value), life));
    }
    Values read(OpenDhtDirectory& directory, const std::string& key = "test/key") {
        Values values;
        for (const Record& record : run(directory.read(key))) values.emplace_back(as_text(record.value));
        std::sort(values.begin(), values.end());
        return values;
    }

    asio::io_context context;
    RealClock clock;
    std::vector<std::shared_ptr<OpenDhtDirectory>> nodes;
};

TEST(OpenDht, a_peer_alone_reads_and_sees_what_it_publishes) {
    Swarm swarm;
    auto alone = swarm.add();
    Values seen;
    const auto token =
        alone->watch("test/key", [&](const Record& record) { seen.emplace_back(as_text(record.value)); });
    swarm.publish(*alone, "one");
    EXPECT_EQ(swarm.read(*alone), Values{"one"});
    EXPECT_TRUE(swarm.wait_until([&] { return seen == Values{"one"}; }));
    swarm.publish(*alone, "two");
    EXPECT_EQ(swarm.read(*alone), Values{"two"});
    EXPECT_TRUE(swarm.wait_until([&] { return seen == Values{"one", "two"}; }));
}

TEST(OpenDht, what_one_publishes_all_others_read) {
    Swarm swarm;
    auto first = swarm.add();
    for (int i = 0; i < 5; ++i) swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    swarm.publish(*swarm.nodes[2], "hello");
    for (const auto& node : swarm.nodes) EXPECT_EQ(swarm.read(*node), Values{"hello"});
    swarm.publish(*swarm.nodes[2], "changed");
    swarm.publish(*swarm.nodes[3], "another");
    for (const auto& node : swarm.nodes) {
        EXPECT_EQ(swarm.read(*node), (Values{"another", "changed"}));
        EXPECT_EQ(node->status().refused_packets, 0u) << "of honest nodes none is refused";
    }
}

TEST(OpenDht, pushes_every_change_to_all_that_watch) {
    Swarm swarm;
    auto first = swarm.add();
    for (int i = 0; i < 5; ++i) swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    std::vector<std::string> newest(swarm.nodes.size());
    std::vector<std::shared_ptr<void>> tokens;
    for (std::size_t i = 0; i < swarm.nodes.size(); ++i)
        tokens.push_back(swarm.nodes[i]->watch(
            "test/key", [&newest, i](const Record& record) { newest[i] = as_text(record.value); }));
    for (int i = 0; i < 20; ++i) {
        const std::string value = std::to_string(i);
        swarm.publish(*swarm.nodes[4], value);
        EXPECT_TRUE(swarm.wait_until([&] {
            return std::all_of(newest.begin(), newest.end(), [&](const auto& seen) { return seen == value; });
        })) << value;
    }
}

TEST(OpenDht, pushes_to_watchers_that_do_not_store_the_record_themselves) {
    Swarm swarm;
    auto first = swarm.add();
    for (int i = 0; i < 23; ++i) swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    std::vector<std::string> newest(swarm.nodes.size());
    std::vector<std::shared_ptr<void>> tokens;
    for (std::size_t i = 0; i < swarm.nodes.size(); ++i)
        tokens.push_back(swarm.nodes[i]->watch(
            "test/key", [&newest, i](const Record& record) { newest[i] = as_text(record.value); }));
    for (int i = 0; i < 5; ++i) {
        const std::string value = std::to_string(i);
        swarm.publish(*swarm.nodes[4], value);
        EXPECT_TRUE(swarm.wait_until([&] {
            return std::all_of(newest.begin(), newest.end(), [&](const auto& seen) { return seen == value; });
        })) << value;
    }
}

TEST(OpenDht, a_watcher_gets_what_was_there_before_it_and_nothing_after_its_end) {
    Swarm swarm;
    auto first = swarm.add();
    auto second = swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    swarm.publish(*first, "before");
    Values seen, seen_late;
    auto token =
        second->watch("test/key", [&](const Record& record) { seen.emplace_back(as_text(record.value)); });
    EXPECT_TRUE(swarm.wait_until([&] { return seen == Values{"before"}; }));
    auto late = second->watch("test/key",
                              [&](const Record& record) { seen_late.emplace_back(as_text(record.value)); });
    EXPECT_TRUE(swarm.wait_until([&] { return seen_late == Values{"before"}; }));
    token.reset();
    swarm.publish(*first, "after");
    EXPECT_TRUE(swarm.wait_until([&] { return seen_late == Values{"before", "after"}; }));
    EXPECT_EQ(seen, Values{"before"});
}

TEST(OpenDht, reads_what_is_new_where_somebody_watches_or_has_just_ended_to) {
    Swarm swarm;
    auto first = swarm.add();
    for (int i = 0; i < 15; ++i) swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    swarm.publish(*first, "0");
    for (std::size_t i = 0; i < swarm.nodes.size(); ++i) {
        bool seen = false;
        auto token = swarm.nodes[i]->watch("test/key", [&](const Record&) { seen = true; });
        EXPECT_TRUE(swarm.wait_until([&] { return seen; }));
        if (i % 2 == 0) token.reset();
        const std::string value = std::to_string(i + 1);
        swarm.publish(*first, value);
        EXPECT_EQ(swarm.read(*swarm.nodes[i]), Values{value});
    }
}

TEST(OpenDht, forgets_what_has_expired) {
    Swarm swarm;
    auto first = swarm.add();
    auto second = swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    swarm.publish(*first, "short", 1s);
    EXPECT_EQ(swarm.read(*second), Values{"short"});
    EXPECT_TRUE(swarm.wait_until([&] { return swarm.read(*second).empty(); }));
}

TEST(OpenDht, a_goodbye_takes_the_record_back_although_it_would_have_lived_longer) {
    Swarm swarm;
    auto first = swarm.add();
    auto second = swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    swarm.publish(*first, "here", 300s);
    swarm.publish(*first, "", 1s);
    const auto records = swarm.run(second->read("test/key"));
    ASSERT_EQ(records.size(), 1u);
    EXPECT_TRUE(records[0].value.empty());
    EXPECT_GT(records[0].expires, swarm.clock.wall_now() + 250s);
}

/// A node that follows the protocol of OpenDHT, but puts what it likes.
struct Hostile {
    explicit Hostile(Swarm& swarm, OpenDhtDirectory& victim)
        : node(std::make_shared<OpenDhtNode>(swarm.context.get_executor(), swarm.clock,
                                             Swarm::make_settings(), Log())) {
        node->start();
        bool answered = false;
        node->ping({asio::ip::address_v4::loopback(), victim.port()}, [&](bool ok) { answered = ok; });
        EXPECT_TRUE(swarm.wait_until([&] { return answered && victim.status().nodes > 0; }));
    }
    ~Hostile() { node->close(); }
    std::shared_ptr<OpenDhtNode> node;
};

TEST(OpenDht, a_store_refuses_what_is_forged_stale_oversized_unsigned_or_of_a_foreign_type) {
    Swarm swarm;
    OpenDhtSettings settings = Swarm::make_settings();
    settings.refuse_foreign_types = true;
    auto victim = swarm.add(settings);
    Hostile hostile(swarm, *victim);
    const KeyHash key = KeyHash::of("test/key");
    const KeyPair owner = KeyPair::generate();
    const WallTime now = swarm.clock.wall_now();
    const auto sign = [&](std::uint64_t sequence, Duration life, std::size_t bytes = 10) {
        return sign_record(owner, key, "", sequence,
                           now + std::chrono::floor<std::chrono::milliseconds>(life), Bytes(bytes));
    };
    const auto put = [&](std::shared_ptr<::dht::Value> value) {
        bool done = false;
        const ::dht::InfoHash place = value->type == kPushType ? place_of(key, kPushType) : to_info_hash(key);
        hostile.node->put_value(place, std::move(value), [&](bool) { done = true; });
        EXPECT_TRUE(swarm.wait_until([&] { return done; }));
    };
    const auto refused = [&](const std::string& cause) { return victim->status().refused[cause]; };

    put(to_value(key, sign(5, 60s), kRecordType));
    EXPECT_EQ(victim->status().stored_records, 1u) << "a stranger may carry what its owner has signed";
    put(to_value(key, sign(4, 60s), kRecordType));
    EXPECT_EQ(refused("stale"), 1u);
    SignedRecord forged = sign(6, 60s);
    forged.value[0] = 1;
    put(to_value(key, forged, kRecordType));
    EXPECT_EQ(refused("forged"), 1u);
    forged.signature = {};
    put(to_value(key, forged, kPushType));
    EXPECT_EQ(refused("forged"), 2u);
    put(to_value(key, sign(7, -1s), kRecordType));
    EXPECT_EQ(refused("expired"), 1u);
    put(to_value(key, sign(8, kMaximumTimeToLive + kClockTolerance + 1min), kRecordType));
    EXPECT_EQ(refused("too_far_ahead"), 1u);
    put(to_value(key, sign(9, 60s, kMaximumValueBytes + 1), kRecordType));
    EXPECT_EQ(refused("oversized"), 1u);
    put(to_value(KeyHash::of("other"), sign(10, 60s), kRecordType));
    EXPECT_EQ(refused("malformed"), 1u) << "its id belongs to another key";
    auto renamed = to_value(key, sign(11, 60s), kRecordType);
    renamed->id = 12345;
    put(renamed);
    EXPECT_EQ(refused("malformed"), 2u) << "one record under many ids would fill the store";
    auto garbage = std::make_shared<::dht::Value>(kRecordType, ::dht::Blob(200, 7));
    garbage->id = 99;
    put(garbage);
    EXPECT_EQ(refused("malformed"), 3u);
    auto foreign = std::make_shared<::dht::Value>(::dht::ValueType::Id{0}, ::dht::Blob(300, 7));
    foreign->id = 100;
    put(foreign);

    const auto records = swarm.run(victim->read_signed(key));
    ASSERT_EQ(records.size(), 1u);
    EXPECT_EQ(records[0].value, Bytes(10)) << "a reader takes nothing forged, either";
    EXPECT_EQ(victim->status().stored_records, 1u);
}

TEST(OpenDht, random_packets_do_no_harm) {
    Swarm swarm;
    auto first = swarm.add();
    auto second = swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    Random random(7);
    asio::ip::udp::socket socket(swarm.context, asio::ip::udp::v4());
    const asio::ip::udp::endpoint target(asio::ip::address_v4::loopback(), first->port());
    for (int i = 0; i < 2000; ++i) {
        Bytes packet(random.below(300));
        for (auto& byte : packet) byte = static_cast<std::uint8_t>(random.next());
        socket.send_to(asio::buffer(packet), target);
        if (i % 50 == 0) swarm.context.poll();
    }
    swarm.publish(*second, "still here");
    EXPECT_EQ(swarm.read(*first), Values{"still here"});
}

TEST(OpenDht, takes_no_packet_that_asks_for_more_memory_than_it_brings) {
    Swarm swarm;
    auto first = swarm.add();
    auto second = swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    asio::ip::udp::socket socket(swarm.context, asio::ip::udp::v4());
    const asio::ip::udp::endpoint target(asio::ip::address_v4::loopback(), first->port());
    // Maps and arrays of 2^32 - 1 elements, bytes and texts of as many, an error that holds nothing.
    const std::vector<Bytes> packets{{0xdf, 0xff, 0xff, 0xff, 0xff},
                                     {0xdd, 0xff, 0xff, 0xff, 0xff},
                                     {0x81, 0xa1, 'a', 0xc6, 0xff, 0xff, 0xff, 0xff},
                                     {0x81, 0xa1, 'a', 0xdb, 0xff, 0xff, 0xff, 0xff},
                                     {0x82, 0xa1, 'e', 0x90, 0xa1, 'r', 0x80}};
    for (const Bytes& packet : packets) socket.send_to(asio::buffer(packet), target);
    EXPECT_TRUE(swarm.wait_until([&] { return first->status().refused_packets == packets.size(); }));
    swarm.publish(*second, "still here");
    EXPECT_EQ(swarm.read(*first), Values{"still here"});
    EXPECT_EQ(second->status().refused_packets, 0u);
}

TEST(OpenDht, survives_the_death_of_some_nodes) {
    Swarm swarm;
    auto first = swarm.add();
    for (int i = 0; i < 11; ++i) swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    for (std::size_t i = 0; i < 12; ++i) swarm.publish(*swarm.nodes[i], std::to_string(i), 120s);
    for (const std::size_t dead : {0, 5, 7}) swarm.nodes[dead]->shut_down();
    for (const std::size_t alive : {1, 4, 11}) EXPECT_EQ(swarm.read(*swarm.nodes[alive]).size(), 12u);
    swarm.publish(*swarm.nodes[3], "after");
    const Values values = swarm.read(*swarm.nodes[8]);
    EXPECT_EQ(std::count(values.begin(), values.end(), "after"), 1);
}

/// A machine that has gone without a trace: its port is open, and nobody answers.
TEST(OpenDht, does_not_wait_for_a_node_again_that_does_not_answer) {
    Swarm swarm;
    auto first = swarm.add();
    for (int i = 0; i < 7; ++i) swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    swarm.publish(*swarm.nodes[1], "before");  // all of them store it
    const asio::ip::udp::endpoint where(asio::ip::address_v4::loopback(), swarm.nodes[7]->port());
    swarm.nodes[7]->shut_down();
    asio::ip::udp::socket mute(swarm.context, where);
    for (int i = 0; i < 20; ++i) {
        const auto start = std::chrono::steady_clock::now();
        swarm.publish(*swarm.nodes[1], std::to_string(i));
        // By itself OpenDHT waits for eight seconds here.
        if (i == 0) {
            EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
        }
    }
    std::array<char, 2000> buffer{};
    std::size_t asked = 0;
    mute.non_blocking(true);
    std::error_code error;
    while (mute.receive(asio::buffer(buffer), 0, error) > 0) ++asked;
    EXPECT_LT(asked, 60u) << "the same few questions, not twenty times as many";
    // It was only away for a while: it comes back by itself.
    mute.close();
    OpenDhtSettings settings = Swarm::make_settings();
    settings.port = where.port();
    auto back = swarm.add(settings);
    EXPECT_TRUE(swarm.wait_until([&] { return back->status().nodes > 0; }));
    EXPECT_EQ(swarm.read(*back), Values{"19"});
}

TEST(OpenDht, two_halves_merge_when_one_learns_of_the_other) {
    Swarm swarm;
    std::vector<std::shared_ptr<OpenDhtDirectory>> left, right;
    left.push_back(swarm.add());
    right.push_back(swarm.add());
    for (int i = 0; i < 3; ++i) {
        left.push_back(swarm.add({left[0]}));
        right.push_back(swarm.add({right[0]}));
    }
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    std::vector<std::set<std::string>> seen(swarm.nodes.size());
    std::vector<std::shared_ptr<void>> tokens;
    for (std::size_t i = 0; i < swarm.nodes.size(); ++i)
        tokens.push_back(swarm.nodes[i]->watch(
            "test/key", [&seen, i](const Record& record) { seen[i].emplace(as_text(record.value)); }));
    swarm.publish(*left[1], "left", 120s);
    swarm.publish(*right[1], "right", 120s);
    EXPECT_EQ(swarm.read(*left[2]), Values{"left"});
    EXPECT_EQ(swarm.read(*right[2]), Values{"right"});
    // One node learns one address; nobody else does anything.
    left[3]->learn({"127.0.0.1", right[2]->port()});
    EXPECT_TRUE(swarm.wait_until([&] {
        return std::all_of(seen.begin(), seen.end(), [](const auto& values) { return values.size() == 2; });
    }));
    for (const auto& node : swarm.nodes) EXPECT_EQ(swarm.read(*node), (Values{"left", "right"}));
}

TEST(OpenDht, finds_a_bootstrap_node_that_starts_late_and_says_why_not_before) {
    Swarm swarm;
    auto late = swarm.add();
    const std::uint16_t port = late->port();
    late->shut_down();
    swarm.nodes.clear();
    OpenDhtSettings settings = Swarm::make_settings();
    settings.bootstrap = {{"127.0.0.1", port}, {"no-such-host.invalid", 31337}};
    auto early = swarm.add(settings);
    ASSERT_TRUE(swarm.wait_until([&] { return !early->status().bootstrap[0].reason.empty(); }));
    ASSERT_TRUE(swarm.wait_until([&] { return !early->status().bootstrap[1].reason.empty(); }));
    EXPECT_NE(early->status().bootstrap[0].reason.find("no answer from 127.0.0.1:" + std::to_string(port)),
              std::string::npos);
    EXPECT_NE(early->status().bootstrap[1].reason.find("'no-such-host.invalid' cannot be resolved"),
              std::string::npos);
    swarm.publish(*early, "waiting", 120s);
    OpenDhtSettings late_settings = Swarm::make_settings();
    late_settings.port = port;
    auto again = swarm.add(late_settings);
    EXPECT_TRUE(swarm.wait_until([&] { return early->status().bootstrap[0].reachable; }));
    EXPECT_TRUE(early->status().bootstrap[0].reason.empty());
    EXPECT_TRUE(swarm.wait_until([&] { return swarm.read(*again) == Values{"waiting"}; }));
}

TEST(OpenDht, says_that_a_bootstrap_address_is_its_own) {
    Swarm swarm;
    auto node = swarm.add();
    node->add_bootstrap({"127.0.0.1", node->port()});
    ASSERT_TRUE(swarm.wait_until([&] { return !node->status().bootstrap[0].reason.empty(); }));
    EXPECT_NE(node->status().bootstrap[0].reason.find("is this peer itself"), std::string::npos);
}

TEST(OpenDht, runs_of_different_names_do_not_mix) {
    Swarm swarm;
    auto first = swarm.add();
    OpenDhtSettings settings = Swarm::make_settings();
    settings.run = "other";
    settings.bootstrap = {{"127.0.0.1", first->port()}};
    auto stranger = swarm.add(settings);
    ASSERT_TRUE(swarm.wait_until([&] { return !stranger->status().bootstrap[0].reason.empty(); }));
    EXPECT_EQ(first->status().nodes, 0u);
    EXPECT_EQ(stranger->status().nodes, 0u);
}

TEST(OpenDht, names_the_port_that_is_taken) {
    Swarm swarm;
    auto first = swarm.add();
    OpenDhtSettings settings = Swarm::make_settings();
    settings.port = first->port();
    try {
        swarm.add(settings);
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::system);
        EXPECT_NE(std::string(error.what()).find("UDP port " + std::to_string(first->port())),
                  std::string::npos);
    }
}

awaitable<void> expect_cancelled(OpenDhtDirectory& directory, bool& cancelled) {
    try {
        co_await directory.publish("test/key", "", Bytes(1), 60s);
        co_await directory.read("test/key");
    } catch (const Error& error) {
        cancelled = error.kind() == ErrorKind::cancelled;
    }
}

TEST(OpenDht, shuts_down_at_once_while_somebody_waits) {
    Swarm swarm;
    auto first = swarm.add();
    auto second = swarm.add({first});
    ASSERT_TRUE(swarm.wait_for_nodes(1));
    first->shut_down();  // it does not answer any more
    bool cancelled = false;
    asio::co_spawn(swarm.context, expect_cancelled(*second, cancelled), asio::detached);
    swarm.context.run_for(10ms);
    second->shut_down();
    EXPECT_TRUE(swarm.wait_until([&] { return cancelled; }));
}

}  // namespace
}  // namespace shoal::dht
