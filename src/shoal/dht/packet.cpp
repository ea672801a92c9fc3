#include "shoal/dht/packet.h"

#include <string_view>

#include "shoal/dht/msgpack_reader.h"

namespace shoal::dht {

namespace {

using Kind = MsgpackReader::Kind;
using Token = MsgpackReader::Token;
using namespace std::string_view_literals;

/// Until the year 2242; what is later overflows OpenDHT's clock.
constexpr std::uint64_t kLatestTime = std::uint64_t{1} << 33;

/// Calls `read_entry(key, value)` for each entry of a map; it has to read what belongs to the value.
template <typename ReadEntry>
bool read_map(MsgpackReader& reader, const Token& map, ReadEntry read_entry) {
    if (map.kind != Kind::map) return false;
    for (std::uint64_t i = 0; i < map.number; ++i) {
        const auto key = reader.next();
        if (!key || (key->kind != Kind::text && key->kind != Kind::number)) return false;
        const auto value = reader.next();
        if (!value || !read_entry(*key, *value)) return false;
    }
    return true;
}

template <typename ReadElement>
bool read_array(MsgpackReader& reader, const Token& array, ReadElement read_element) {
    if (array.kind != Kind::array) return false;
    for (std::uint64_t i = 0; i < array.number; ++i) {
        const auto element = reader.next();
        if (!element || !read_element(*element)) return false;
    }
    return true;
}

bool is(const Token& key, std::string_view name) {
    return key.kind == Kind::text && as_text(key.bytes) == name;
}

/// {"data": bytes, "type": number}. No owner, no signature: ours are inside the data.
bool read_value_body(MsgpackReader& reader, const Token& body) {
    return read_map(reader, body, [](const Token& key, const Token& value) {
        if (is(key, "data"sv)) return value.kind == Kind::binary;
        if (is(key, "type"sv)) return value.kind == Kind::number;
        return is(key, "utype"sv) && value.kind == Kind::text;
    });
}

/// {"id": number, "dat": {"body": ...}}
bool read_value(MsgpackReader& reader, const Token& whole) {
    return read_map(reader, whole, [&](const Token& key, const Token& value) {
        if (is(key, "id"sv) || is(key, "prio"sv)) return value.kind == Kind::number;
        return is(key, "dat"sv) && read_map(reader, value, [&](const Token& name, const Token& body) {
                   return is(name, "body"sv) && read_value_body(reader, body);
               });
    });
}

/// Values themselves, or how long each of those is that follow in parts.
bool read_values(MsgpackReader& reader, const Token& values) {
    return read_array(reader, values, [&](const Token& value) {
        if (value.kind == Kind::number) return value.number <= kMaximumPackedValue;
        return read_value(reader, value);
    });
}

/// {"f": which fields, "v": all of them of one value after another}
bool read_fields(MsgpackReader& reader, const Token& fields) {
    bool some = false;
    const bool read = read_map(reader, fields, [&](const Token& key, const Token& list) {
        if (list.kind != Kind::array) return false;
        if (is(key, "f"sv)) some = list.number > 0;
        return reader.skip(list);
    });
    return read && some;
}

/// The arguments of a request, or the contents of an answer.
bool read_body(MsgpackReader& reader, const Token& body) {
    return read_map(reader, body, [&](const Token& key, const Token& value) {
        if (is(key, "values"sv)) return read_values(reader, value);
        if (is(key, "fileds"sv)) return read_fields(reader, value);  // OpenDHT spells it so
        if (is(key, "c"sv)) return value.kind == Kind::number && value.number <= kLatestTime;
        return reader.skip(value);
    });
}

/// {index: {"o": offset, "d": bytes}}. As every value fits one part, its bytes can be looked into here.
bool read_parts(MsgpackReader& reader, const Token& parts) {
    return read_map(reader, parts, [&](const Token&, const Token& part) {
        return read_map(reader, part, [](const Token& key, const Token& value) {
            if (is(key, "o"sv)) return value.kind == Kind::number && value.number == 0;
            if (!is(key, "d"sv) || value.kind != Kind::binary) return false;
            if (value.bytes.size() > kMaximumPackedValue) return false;
            MsgpackReader inside(value.bytes);
            const auto whole = inside.next();
            return whole && read_value(inside, *whole) && inside.at_end();
        });
    });
}

/// [code, text]
bool read_error(MsgpackReader& reader, const Token& error) {
    return error.kind == Kind::array && error.number > 0 && reader.skip(error);
}

/// What is known of a message when its end is reached.
struct Message {
    bool error = false, answer = false, update = false, parts = false, arguments = false;
    std::string_view query;

    /// In the order in which OpenDHT looks.
    PacketKind kind() const {
        const bool body = arguments || answer || update;
        if (parts && !error && !answer) return PacketKind::part;
        if (!body) return PacketKind::refused;
        if (error || answer || update) return PacketKind::answer;
        if (query == "ping"sv) return PacketKind::ping;
        for (const auto known : {"find"sv, "get"sv, "put"sv, "listen"sv, "refresh"sv, "update"sv})
            if (query == known) return PacketKind::request;
        return PacketKind::refused;
    }
};

bool read_entry(MsgpackReader& reader, Message& message, const Token& key, const Token& value) {
    if (is(key, "a"sv)) return message.arguments = true, read_body(reader, value);
    if (is(key, "r"sv)) return message.answer = true, read_body(reader, value);
    if (is(key, "u"sv)) return message.update = true, read_body(reader, value);
    if (is(key, "p"sv)) return message.parts = true, read_parts(reader, value);
    if (is(key, "e"sv)) return message.error = true, read_error(reader, value);
    if (is(key, "t"sv)) return value.kind == Kind::number;
    if (is(key, "q"sv)) {
        message.query = as_text(value.bytes);
        return value.kind == Kind::text;
    }
    return reader.skip(value);
}

}  // namespace

PacketKind check_packet(ByteView datagram) {
    MsgpackReader reader(datagram);
    const auto whole = reader.next();
    if (!whole) return PacketKind::refused;
    Message message;
    const bool read = read_map(reader, *whole, [&](const Token& key, const Token& value) {
        return read_entry(reader, message, key, value);
    });
    return read && reader.at_end() ? message.kind() : PacketKind::refused;
}

}  // namespace shoal::dht
