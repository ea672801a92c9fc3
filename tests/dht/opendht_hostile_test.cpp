// Nodes and packets that follow no rules. Real UDP sockets on loopback.
#include "dht/directory_swarm.h"

#include <asio/ip/udp.hpp>
#include <gtest/gtest.h>

#include "shoal/base/random.h"
#include "shoal/dht/opendht_node.h"

namespace shoal::dht {
namespace {

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

TEST(OpenDhtHostile, a_store_refuses_what_is_forged_stale_oversized_unsigned_or_of_a_foreign_type) {
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

TEST(OpenDhtHostile, random_packets_do_no_harm) {
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

TEST(OpenDhtHostile, takes_no_packet_that_asks_for_more_memory_than_it_brings) {
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

}  // namespace
}  // namespace shoal::dht
