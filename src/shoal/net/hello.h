// The conversation that begins a connection: each side says what it must agree on with the other.
//
//   dialler: hello                      states: dialled -> greeted -> connected
//   acceptor:        hello, welcome             accepted -> connected
//   either side, instead: refuse and the reason, then it closes
#pragma once

#include <optional>
#include <string>

#include "shoal/base/hash.h"
#include "shoal/net/byte_pipe.h"
#include "shoal/net/multiplexer.h"
#include "shoal/net/tcp_network.h"

namespace shoal::net {

inline constexpr std::uint32_t kProtocolVersion = 4;
inline constexpr std::uint32_t kMaximumLanes = 8;

/// Which of the connections that make up a link this is (striped_pipe.h). The dialler says so.
struct LaneNumber {
    LaneNumber() = default;
    LaneNumber(std::uint64_t l, std::uint32_t number, std::uint32_t count)
        : link(l), lane(number), lanes(count) {}
    std::uint64_t link = 0;  ///< random, the same for all of them
    std::uint32_t lane = 0;
    std::uint32_t lanes = 1;  ///< 1: the connection is a link by itself
};

/// What one side says in its hello.
struct Greeting {
    Greeting() = default;
    std::uint32_t protocol_version = kProtocolVersion;
    AgreedSettings agreed;
    Digest agreed_hash;  ///< of `agreed`
    std::uint16_t listen_port = 0;
    std::uint64_t instance = 0;
    std::size_t stream_window = kMinimumWindow;
    std::size_t maximum_streams = 1;
    LaneNumber lane;
    bool observer() const { return agreed.empty(); }
};

/// SHA-256 over names and values, each with its length before it.
Digest hash_of(const AgreedSettings& agreed);

/// The body of a hello frame. Throws Error(invalid_argument) if the settings do not fit into
/// kMaximumHelloBytes.
Bytes serialise(const Greeting& greeting);

/// Throws Error(protocol_violation) on a malformed one, or on values that no correct peer says.
Greeting parse_greeting(ByteView body);

/// Why the two must not talk, in words for the side of `ours`; nothing if they may. Names the first field
/// that differs with both values.
std::optional<std::string> disagreement(const Greeting& ours, const Greeting& theirs);

/// Decides on what only the acceptor knows (is there room for one more?): a reason to refuse, or nothing.
using Admission = std::function<std::optional<std::string>(const Greeting& theirs)>;

struct Agreement {
    Agreement(Greeting greeting, Bytes rest) : theirs(std::move(greeting)), already_read(std::move(rest)) {}
    Greeting theirs;
    Bytes already_read;  ///< what the pipe gave beyond the handshake
};

/// Exchanges greetings over a fresh pipe. Throws Error(refused) with the reason, Error(protocol_violation) if
/// the other side is no Shoal peer, Error(connection_lost). No time limit of its own.
awaitable<Agreement> greet_as_dialler(BytePipe& pipe, Greeting ours);
/// Only asks which instance of a peer is at the other end (Greeting::instance): for a peer that finds its own
/// key there. Throws as above.
awaitable<std::uint64_t> ask_instance(BytePipe& pipe, Greeting ours);
/// `ours` outlives the call.
awaitable<Agreement> greet_as_acceptor(BytePipe& pipe, const Greeting& ours, Admission admission);

}  // namespace shoal::net
