// The directory through a connected peer that lends its own (directory_service.h), for peers to which UDP
// does not get through. Records are signed here and checked here: the peer between can leave some out, but
// not invent any.
#pragma once

#include <memory>
#include <optional>

#include "shoal/base/log.h"
#include "shoal/dht/signed_directory.h"
#include "shoal/net/network.h"

namespace shoal::dht {

inline constexpr const char* kPublishService = "directory/publish";
inline constexpr const char* kReadService = "directory/read";
inline constexpr const char* kWatchService = "directory/watch";
inline constexpr int kMaximumRecordsInAnswer = 400;
/// So long a server may take for a call, or to acknowledge a watch; then another one is asked.
inline constexpr Duration kServerTimeout = std::chrono::seconds(4);

/// A server that is lost, refuses what another one does for us, sends what cannot be read, or is silent is
/// left for another: one that answers nothing at all within kServerChange (server_choice.h), though nobody
/// asks it for anything; one that does not do what it is asked for within kServerTimeout and the time to find
/// the other. Records and watches move along, and the new server tells all records of a watched key again
/// (each is delivered once). Not noticed is who says that it does what it is asked for, and does not. Thread:
/// the one of the network.
class RemoteDirectory : public SignedDirectory {
  public:
    using SignedDirectory::SignedDirectory;

    /// The peer through which it goes now; nothing while no connected peer lends a directory. Preferred is
    /// who hears from others over UDP; where nobody does, all agree on the lowest PeerId, which may be our
    /// own: then there is nobody to go through.
    virtual std::optional<PeerId> server() const = 0;
    /// What waits fails with Error(cancelled). Nothing may be asked of it afterwards.
    virtual void shut_down() = 0;
};

/// @param serves  whether this peer lends a directory of its own, so that others may go through us.
std::shared_ptr<RemoteDirectory> make_remote_directory(std::shared_ptr<net::Network> network, Clock& clock,
                                                       std::shared_ptr<const Signer> signer, bool serves,
                                                       Log log);

}  // namespace shoal::dht
