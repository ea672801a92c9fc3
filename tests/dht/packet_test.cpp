#include "shoal/dht/packet.h"

#include "dht/captured_packets.h"

#include <gtest/gtest.h>
#include <map>
#include <rapidcheck/gtest.h>
#include <set>

namespace shoal::dht {
namespace {

using namespace std::string_literals;

PacketKind kind_of(const std::string& text) {
    return check_packet(as_bytes(text));
}

/// A short text, as msgpack has it.
std::string str(const std::string& text) {
    return static_cast<char>(0xa0 + text.size()) + text;
}
std::string map(int entries) {
    return std::string(1, static_cast<char>(0x80 + entries));
}
std::string array(int elements) {
    return std::string(1, static_cast<char>(0x90 + elements));
}
std::string number(std::uint32_t value) {
    std::string text = "\xce";
    for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(value >> shift);
    return text;
}
std::string binary(const std::string& bytes) {
    return "\xc4"s + static_cast<char>(bytes.size()) + bytes;
}

/// A request with these arguments.
std::string request(const std::string& query, const std::string& arguments) {
    return map(4) + str("a") + arguments + str("q") + str(query) + str("t") + number(77) + str("y") +
           str("q");
}
std::string answer(const std::string& contents) {
    return map(3) + str("r") + contents + str("t") + number(77) + str("y") + str("r");
}
std::string value(const std::string& body = map(2) + str("type") + number(1) + str("data") + binary("x")) {
    return map(2) + str("id") + number(9) + str("dat") + map(1) + str("body") + body;
}
std::string part(const std::string& content, const std::string& offset = number(0)) {
    return map(3) + str("y") + str("p") + str("t") + number(1) + str("p") + map(1) + number(0) + map(2) +
           str("o") + offset + str("d") + binary(content);
}

TEST(Packet, of_every_kind_that_opendht_sends_passes) {
    const std::vector<Bytes> packets = captured_packets();
    std::map<PacketKind, int> kinds;
    std::set<std::string> queries;
    int errors = 0;
    for (const Bytes& packet : packets) {
        const PacketKind kind = check_packet(packet);
        EXPECT_NE(kind, PacketKind::refused) << to_hex(packet);
        ++kinds[kind];
        const std::string_view text = as_text(packet);
        for (const std::string query : {"ping", "find", "get", "put", "listen", "refresh", "update"})
            if (text.find(str("q") + str(query)) != std::string_view::npos) queries.insert(query);
        errors += text.starts_with("\x85\xa1"s + "e") || text.starts_with("\x86\xa1"s + "e");
    }
    EXPECT_EQ(queries, (std::set<std::string>{"ping", "find", "get", "put", "listen", "refresh", "update"}));
    EXPECT_GT(kinds[PacketKind::ping], 0);
    EXPECT_GT(kinds[PacketKind::request], 0);
    EXPECT_GT(kinds[PacketKind::answer], 0);
    EXPECT_GT(kinds[PacketKind::part], 0);
    EXPECT_GT(errors, 0);
}

TEST(Packet, is_told_by_its_kind) {
    EXPECT_EQ(kind_of(request("ping", map(0))), PacketKind::ping);
    EXPECT_EQ(kind_of(request("get", map(0))), PacketKind::request);
    EXPECT_EQ(kind_of(answer(map(0))), PacketKind::answer);
    EXPECT_EQ(kind_of(part(value())), PacketKind::part);
    EXPECT_EQ(kind_of(request("dance", map(0))), PacketKind::refused);
}

TEST(Packet, is_refused_when_a_length_promises_more_than_there_is) {
    for (const char head : {'\xdd', '\xdf'})  // an array and a map of 2^32 - 1
        EXPECT_EQ(kind_of(request("get", map(1) + str("x") + head + "\xff\xff\xff\xff"s)),
                  PacketKind::refused);
    for (const char head : {'\xc6', '\xdb'})  // bytes and text
        EXPECT_EQ(kind_of(request("get", map(1) + str("x") + head + "\xff\xff\xff\xff"s)),
                  PacketKind::refused);
    EXPECT_EQ(kind_of(request("get", map(1) + str("x") + "\xdc\x00\x01\xc0"s)), PacketKind::request);
    EXPECT_EQ(kind_of("\xdf\xff\xff\xff\xff"s), PacketKind::refused);
    EXPECT_EQ(kind_of(map(1)), PacketKind::refused);
    EXPECT_EQ(kind_of(""), PacketKind::refused);
}

TEST(Packet, is_refused_with_extensions_or_floats) {
    for (const char head : {'\xc7', '\xc8', '\xc9', '\xd4', '\xd8', '\xca', '\xcb', '\xc1'})
        EXPECT_EQ(kind_of(request("get", map(1) + str("x") + head + std::string(20, '\0'))),
                  PacketKind::refused);
}

TEST(Packet, is_refused_when_it_nests_too_deep) {
    const auto nested = [](int levels) {
        std::string text;
        for (int i = 0; i < levels; ++i) text += array(1);
        return request("get", map(1) + str("x") + text + number(1));
    };
    EXPECT_EQ(kind_of(nested(10)), PacketKind::request);
    EXPECT_EQ(kind_of(nested(11)), PacketKind::refused);
    EXPECT_EQ(kind_of(nested(30000)), PacketKind::refused);
}

TEST(Packet, is_refused_with_anything_behind_its_end) {
    EXPECT_EQ(kind_of(request("ping", map(0)) + "\xc0"), PacketKind::refused);
}

TEST(Packet, is_refused_when_what_opendht_reads_as_a_map_is_none) {
    EXPECT_EQ(kind_of(request("get", str("text"))), PacketKind::refused);
    EXPECT_EQ(kind_of(answer(number(123456))), PacketKind::refused);
    // An error without contents: OpenDHT would read its array as a map.
    EXPECT_EQ(kind_of(map(2) + str("e") + array(2) + number(401) + str("no") + str("t") + number(1)),
              PacketKind::refused);
    const std::string contents = str("r") + map(0);
    EXPECT_EQ(kind_of(map(3) + str("e") + array(1) + number(401) + contents + str("t") + number(1)),
              PacketKind::answer);
    EXPECT_EQ(kind_of(map(3) + str("e") + array(0) + contents + str("t") + number(1)), PacketKind::refused)
        << "OpenDHT would read the first of none";
}

TEST(Packet, is_refused_when_it_lists_values_by_no_field) {
    const auto fields = [](const std::string& which) {
        return answer(map(1) + str("fileds") + map(2) + str("f") + which + str("v") + array(0));
    };
    EXPECT_EQ(kind_of(fields(array(1) + number(1))), PacketKind::answer);
    EXPECT_EQ(kind_of(fields(array(0))), PacketKind::refused) << "OpenDHT would divide by zero";
    EXPECT_EQ(kind_of(answer(map(1) + str("fileds") + map(0))), PacketKind::refused);
}

TEST(Packet, holds_only_values_without_signatures_of_opendht) {
    const auto put = [](const std::string& one) {
        return request("put", map(1) + str("values") + array(1) + one);
    };
    EXPECT_EQ(kind_of(put(value())), PacketKind::request);
    EXPECT_EQ(kind_of(put(value(map(1) + str("owner") + binary("key")))), PacketKind::refused);
    EXPECT_EQ(kind_of(put(map(1) + str("dat") + binary("cipher"))), PacketKind::refused);
    EXPECT_EQ(kind_of(put(number(kMaximumPackedValue))), PacketKind::request) << "a value in parts";
    EXPECT_EQ(kind_of(put(number(kMaximumPackedValue + 1))), PacketKind::refused);
}

TEST(Packet, holds_parts_only_that_are_whole_values) {
    EXPECT_EQ(kind_of(part(value(), number(1))), PacketKind::refused) << "not from its beginning";
    EXPECT_EQ(kind_of(part("\xdd\xff\xff\xff\xff")), PacketKind::refused);
    EXPECT_EQ(kind_of(part(value().substr(0, 10))), PacketKind::refused);
    EXPECT_EQ(kind_of(part(value() + "\xc0")), PacketKind::refused);
}

TEST(Packet, is_refused_with_a_time_that_overflows_opendhts_clock) {
    EXPECT_EQ(kind_of(request("put", map(1) + str("c") + number(1700000000))), PacketKind::request);
    EXPECT_EQ(kind_of(request("put", map(1) + str("c") + "\xcf" + std::string(8, '\x7f'))),
              PacketKind::refused);
}

RC_GTEST_PROP(Packet, cut_short_is_refused, ()) {
    static const std::vector<Bytes> packets = captured_packets();
    const Bytes& packet = packets[*rc::gen::inRange<std::size_t>(0, packets.size())];
    const auto length = *rc::gen::inRange<std::size_t>(0, packet.size());
    RC_ASSERT(check_packet(ByteView(packet).first(length)) == PacketKind::refused);
}

}  // namespace
}  // namespace shoal::dht
