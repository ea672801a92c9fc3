// From a connected socket to a link: encrypted, the other side's PeerId proven, the settings agreed.
#pragma once

#include <memory>

#include "shoal/base/async.h"
#include "shoal/base/log.h"
#include "shoal/net/byte_pipe.h"
#include "shoal/net/certificate.h"
#include "shoal/net/hello.h"
#include "shoal/net/socket.h"

namespace shoal::net {

/// What every handshake of one peer uses.
struct LinkContext {
    LinkContext(KeyPair own_key, Encryption how, Greeting own_greeting, std::size_t lanes_if_far,
                Duration what_is_far);
    const KeyPair key;
    const PeerId self;
    const Encryption encryption;
    Greeting greeting;
    const std::uint32_t far_lanes;  // NetworkSettings::far_connections
    const Duration far_round_trip;
    TlsContext as_dialler, as_acceptor;  // empty without encryption
};

/// The dialled address is this very peer's own.
class OwnAddress : public Error {
  public:
    OwnAddress() : Error(ErrorKind::refused, "is this peer itself") {}
};

/// At the dialled address is another process with this peer's key: each would take the other for itself.
class CopiedKey : public Error {
  public:
    explicit CopiedKey(const PeerId& self)
        : Error(ErrorKind::bad_input, "another process there has this peer's key (peer " + self.short_name() +
                                          "): its folder or key file was copied. Give each peer its own: "
                                          "delete the copied key.pem, or give another --folder") {}
};

struct Link {
    Link(std::unique_ptr<BytePipe> p, PeerId id, bool dialled, Agreement a)
        : pipe(std::move(p)), peer(id), dialled_by_us(dialled), agreement(std::move(a)) {}
    std::unique_ptr<BytePipe> pipe;
    PeerId peer;
    bool dialled_by_us;
    Agreement agreement;
};

/// The handshakes on a socket that has just been connected. No time limit of their own; cancellation closes
/// the socket. Throws Error: refused (settings differ, another peer than expected, ourselves),
/// protocol_violation (no Shoal peer), connection_lost.
/// @param expected  whom the dialler wants to reach, if it knows.
/// @param lane      which connection of the link this is.
awaitable<Link> link_as_dialler(std::shared_ptr<LinkContext> context, tcp::socket socket,
                                std::optional<PeerId> expected, LaneNumber lane);
/// @param admission  is asked once it is known who it is.
using PeerAdmission = std::function<std::optional<std::string>(const PeerId& peer, const Greeting& theirs)>;
awaitable<Link> link_as_acceptor(std::shared_ptr<LinkContext> context, tcp::socket socket,
                                 PeerAdmission admission);

}  // namespace shoal::net
