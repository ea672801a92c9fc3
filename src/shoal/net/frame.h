// Frames: the pieces in which everything travels on one connection. docs/wire.md describes each.
//
// A frame is a header of 12 bytes (u32 length of the body, u32 stream, u8 type, three zero bytes;
// little-endian) and its body. A message is announced by a `message` frame, which carries the lengths of its
// two parts, and its bytes follow in `data` frames, cut so that streams take turns.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "shoal/base/bytes.h"

namespace shoal::net {

enum class FrameType : std::uint8_t {
    hello = 1,     ///< stream 0; proto.Hello; first frame of each side
    welcome = 2,   ///< stream 0; empty: the acceptor agrees
    refuse = 3,    ///< stream 0; text: why not
    open = 4,      ///< text: the service
    message = 5,   ///< u32 control bytes, u32 payload bytes
    data = 6,      ///< the next bytes of the message under way: first the control bytes, then the payload
    credit = 7,    ///< u32: this many more bytes may be sent
    finish = 8,    ///< empty: no more messages from this side
    reset = 9,     ///< text: why the stream ends at once, both ways
    ping = 10,     ///< stream 0; u64 to be sent back
    pong = 11,     ///< stream 0; u64 of the ping
    goodbye = 12,  ///< stream 0; text: why the connection ends
};

inline constexpr std::size_t kFrameHeaderBytes = 12;
inline constexpr std::size_t kMaximumHelloBytes = 64 * 1024;
inline constexpr std::size_t kMaximumServiceBytes = 255;
inline constexpr std::size_t kMaximumReasonBytes = 1024;
/// Longest body of a `data` frame that is accepted; ours are kChunkBytes.
inline constexpr std::size_t kMaximumDataBytes = 1024 * 1024;
inline constexpr std::size_t kChunkBytes = 64 * 1024;

struct FrameHeader {
    FrameHeader() = default;
    FrameHeader(FrameType t, std::uint32_t s, std::uint32_t n) : type(t), stream(s), length(n) {}
    FrameType type = FrameType::hello;
    std::uint32_t stream = 0;
    std::uint32_t length = 0;
};

std::array<std::uint8_t, kFrameHeaderBytes> encode(const FrameHeader& header);

/// Throws Error(protocol_violation) unless the type is known, the length is one that the type may have, and
/// the stream is zero or not as the type demands.
FrameHeader decode_header(std::span<const std::uint8_t, kFrameHeaderBytes> bytes);

/// Appends a frame. Text that is too long for its type is cut.
void append_frame(Bytes& out, FrameType type, std::uint32_t stream, ByteView body = {});
void append_frame_u32(Bytes& out, FrameType type, std::uint32_t stream, std::uint32_t value);
void append_frame_u64(Bytes& out, FrameType type, std::uint32_t stream, std::uint64_t value);

void put_u32(std::uint8_t* place, std::uint32_t value);
std::uint32_t get_u32(const std::uint8_t* place);
std::uint64_t get_u64(const std::uint8_t* place);

/// A reason from another peer, fit for logs and messages: cut, and in printable ASCII only.
std::string printable(ByteView text);

/// What a FrameDecoder finds. May throw, which ends the decoding.
class FrameSink {
  public:
    virtual ~FrameSink() = default;
    /// A whole frame of any type but `data`.
    virtual void on_frame(const FrameHeader& header, ByteView body) = 0;
    /// Some bytes of a `data` frame, as they arrive.
    virtual void on_data(std::uint32_t stream, ByteView piece) = 0;
};

/// Cuts a byte stream into frames, however it arrives. Copies only the small frames that arrive in pieces.
class FrameDecoder {
  public:
    explicit FrameDecoder(FrameSink& sink) : sink_(sink) {}
    /// Throws Error(protocol_violation), and what the sink throws.
    void feed(ByteView bytes);

  private:
    void feed_small(ByteView& bytes);
    FrameSink& sink_;
    Bytes partial_;            // a header or a small frame that has not arrived completely
    FrameHeader data_header_;  // of the data frame under way
    std::size_t data_left_ = 0;
};

}  // namespace shoal::net
