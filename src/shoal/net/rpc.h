// Unary calls on top of message streams: one request, one answer, a deadline. Streaming calls use
// Network::open directly.
#pragma once

#include <functional>
#include <string>

#include "shoal/base/clock.h"
#include "shoal/base/error.h"
#include "shoal/net/network.h"

namespace shoal::net {

/// Calls `method` at `peer` and returns its answer.
/// Throws Error: timed_out (deadline), unreachable, connection_lost, refused (the handler threw; its text is
/// passed on), cancelled. The stream is reset when the call ends early, so the other side's work is
/// cancelled, too.
awaitable<Message> call(Network& network, Clock& clock, PeerId peer, std::string method, Message request,
                        TimePoint deadline);

/// Answers a unary call. An Error thrown here reaches the caller as Error(refused) with the same text.
using CallHandler = std::function<awaitable<Message>(PeerId caller, Message request)>;

/// Serves `method` with the handler until it is replaced. A request must arrive within `request_timeout` of
/// the stream's opening.
void serve_calls(Network& network, Clock& clock, std::string method, CallHandler handler,
                 Audience audience = Audience::members, Duration request_timeout = std::chrono::seconds(30));

/// Parses a message's control bytes as a protobuf. Throws Error(protocol_violation) naming the peer and the
/// message type.
template <typename Proto>
Proto parse_control(const Message& message, const PeerId& from) {
    Proto proto;
    if (!proto.ParseFromArray(message.control.data(), static_cast<int>(message.control.size())))
        throw Error(ErrorKind::protocol_violation, "sent a malformed " + proto.GetTypeName(),
                    from.short_name());
    return proto;
}

template <typename Proto>
Bytes to_control(const Proto& proto) {
    Bytes bytes(proto.ByteSizeLong());
    proto.SerializeToArray(bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
}

}  // namespace shoal::net
