#include "shoal/net/frame.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "shoal/base/error.h"

namespace shoal::net {
namespace {

/// What a header may say, by type.
struct Rule {
    std::size_t minimum;
    std::size_t maximum;
    bool has_stream;
};

/// Index: the frame type.
constexpr Rule kRules[] = {
    {1, 0, false},                    // 0 is no type
    {0, kMaximumHelloBytes, false},   // hello
    {0, 0, false},                    // welcome
    {0, kMaximumReasonBytes, false},  // refuse
    {1, kMaximumServiceBytes, true},  // open
    {8, 8, true},                     // message
    {1, kMaximumDataBytes, true},     // data
    {4, 4, true},                     // credit
    {0, 0, true},                     // finish
    {0, kMaximumReasonBytes, true},   // reset
    {8, 8, false},                    // ping
    {8, 8, false},                    // pong
    {0, kMaximumReasonBytes, false},  // goodbye
};

[[noreturn]] void violation(const std::string& what) {
    throw Error(ErrorKind::protocol_violation, what);
}

}  // namespace

void put_u32(std::uint8_t* place, std::uint32_t value) {
    std::memcpy(place, &value, sizeof value);
}

std::uint32_t get_u32(const std::uint8_t* place) {
    std::uint32_t value = 0;
    std::memcpy(&value, place, sizeof value);
    return value;
}

std::uint64_t get_u64(const std::uint8_t* place) {
    std::uint64_t value = 0;
    std::memcpy(&value, place, sizeof value);
    return value;
}

std::array<std::uint8_t, kFrameHeaderBytes> encode(const FrameHeader& header) {
    std::array<std::uint8_t, kFrameHeaderBytes> bytes{};
    put_u32(bytes.data(), header.length);
    put_u32(bytes.data() + 4, header.stream);
    bytes[8] = static_cast<std::uint8_t>(header.type);
    return bytes;
}

FrameHeader decode_header(std::span<const std::uint8_t, kFrameHeaderBytes> bytes) {
    FrameHeader header;
    header.length = get_u32(bytes.data());
    header.stream = get_u32(bytes.data() + 4);
    const std::uint8_t type = bytes[8];
    if (type == 0 || type >= std::size(kRules) || bytes[9] != 0 || bytes[10] != 0 || bytes[11] != 0)
        violation("sent a frame of unknown type " + std::to_string(type));
    header.type = static_cast<FrameType>(type);
    const Rule& rule = kRules[type];
    if (header.length < rule.minimum || header.length > rule.maximum) {
        violation("sent a frame of type " + std::to_string(type) + " with " + std::to_string(header.length) +
                  " bytes");
    }
    if ((header.stream != 0) != rule.has_stream)
        violation("sent a frame of type " + std::to_string(type) + " for stream " +
                  std::to_string(header.stream));
    return header;
}

void append_frame(Bytes& out, FrameType type, std::uint32_t stream, ByteView body) {
    const Rule& rule = kRules[static_cast<std::size_t>(type)];
    body = body.first(std::min(body.size(), rule.maximum));
    const auto header = encode(FrameHeader(type, stream, static_cast<std::uint32_t>(body.size())));
    out.insert(out.end(), header.begin(), header.end());
    out.insert(out.end(), body.begin(), body.end());
}

void append_frame_u32(Bytes& out, FrameType type, std::uint32_t stream, std::uint32_t value) {
    std::array<std::uint8_t, 4> body{};
    std::memcpy(body.data(), &value, sizeof value);
    append_frame(out, type, stream, body);
}

void append_frame_u64(Bytes& out, FrameType type, std::uint32_t stream, std::uint64_t value) {
    std::array<std::uint8_t, 8> body{};
    std::memcpy(body.data(), &value, sizeof value);
    append_frame(out, type, stream, body);
}

std::string printable(ByteView text) {
    std::string result(as_text(text.first(std::min(text.size(), kMaximumReasonBytes))));
    for (char& c : result)
        if (c < 0x20 || c == 0x7f) c = '?';
    return result;
}

void FrameDecoder::feed(ByteView bytes) {
    while (!bytes.empty()) {
        if (data_left_ > 0) {
            const ByteView piece = bytes.first(std::min(bytes.size(), data_left_));
            data_left_ -= piece.size();
            bytes = bytes.subspan(piece.size());
            sink_.on_data(data_header_.stream, piece);
            continue;
        }
        feed_small(bytes);
    }
}

void FrameDecoder::feed_small(ByteView& bytes) {
    // Usually header and body lie together in `bytes`; otherwise they are collected in partial_.
    const auto collect = [&](std::size_t wanted) {
        const std::size_t count = std::min(bytes.size(), wanted - partial_.size());
        partial_.insert(partial_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
        bytes = bytes.subspan(count);
        return partial_.size() == wanted;
    };
    const bool in_place = partial_.empty() && bytes.size() >= kFrameHeaderBytes;
    if (!in_place && partial_.size() < kFrameHeaderBytes && !collect(kFrameHeaderBytes)) return;
    const std::uint8_t* start = in_place ? bytes.data() : partial_.data();
    const FrameHeader header =
        decode_header(std::span<const std::uint8_t, kFrameHeaderBytes>(start, kFrameHeaderBytes));
    if (header.type == FrameType::data) {
        if (in_place) bytes = bytes.subspan(kFrameHeaderBytes);
        partial_.clear();
        data_header_ = header;
        data_left_ = header.length;
        return;
    }
    const std::size_t whole = kFrameHeaderBytes + header.length;
    if (in_place && bytes.size() >= whole) {
        const ByteView body = bytes.subspan(kFrameHeaderBytes, header.length);
        bytes = bytes.subspan(whole);
        sink_.on_frame(header, body);
        return;
    }
    if (!collect(whole)) return;
    Bytes frame;
    frame.swap(partial_);
    sink_.on_frame(header, ByteView(frame).subspan(kFrameHeaderBytes));
}

}  // namespace shoal::net
