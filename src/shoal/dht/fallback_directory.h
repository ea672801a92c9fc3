// Two directories as one: over UDP, and through a connected peer as long as UDP gets no answer.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "shoal/base/log.h"
#include "shoal/dht/remote_directory.h"
#include "shoal/dht/signed_directory.h"

namespace shoal::dht {

/// Records are stored in the first directory in any case, so that others can find them through us; in the
/// second, too, while that is in use, and then only the second's errors count. What is watched is watched
/// where it is read. When it changes, records and watches move over. Thread: the one of the executor.
class FallbackDirectory : public SignedDirectory {
  public:
    using SignedDirectory::SignedDirectory;

    /// The peer through which records are read and published now; nothing while UDP is used.
    virtual std::optional<PeerId> through() const = 0;
    /// Ends both.
    virtual void shut_down() = 0;
};

struct FallbackParts {
    std::shared_ptr<SignedDirectory> own;     ///< over UDP
    std::function<std::size_t()> neighbours;  ///< how many others it hears from
    std::shared_ptr<RemoteDirectory> remote;  ///< through a peer
    std::shared_ptr<const Signer> signer;
};

/// So long there has to be a server, and no neighbour, until it is used.
inline constexpr Duration kFallbackPatience = std::chrono::seconds(3);

std::shared_ptr<FallbackDirectory> make_fallback_directory(asio::any_io_executor executor, Clock& clock,
                                                           FallbackParts parts, Log log);

}  // namespace shoal::dht
