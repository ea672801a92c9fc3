// The directory on OpenDHT, a Kademlia network over UDP. See opendht_node.h for how records travel in it.
#pragma once

#include <asio/any_io_executor.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shoal/base/log.h"
#include "shoal/dht/signed_directory.h"
#include "shoal/net/network.h"

namespace shoal::dht {

struct OpenDhtSettings {
    std::string run;                       ///< only nodes with the same name talk to each other
    std::string listen_host = "0.0.0.0";   ///< an IP address; "::" for IPv4 and IPv6
    std::uint16_t port = 0;                ///< UDP; by agreement the number of the peer's TCP port; 0: any
    std::vector<net::Endpoint> bootstrap;  ///< tried for ever
    StoreLimits limits;                    ///< of what is stored for others
    bool refuse_foreign_types = true;      ///< stores no values but records; costs 10 MB of memory
    bool limit_rate = true;                ///< drops requests beyond 8,000 a second, 4,000 of one address
    Duration operation_timeout = std::chrono::seconds(10);  ///< of a publish or read
};

/// What became of one bootstrap address.
struct BootstrapStatus {
    net::Endpoint endpoint;
    bool reachable = false;
    std::string reason;  ///< why not, in one sentence; empty while reachable or before the first attempt
    unsigned attempts = 0;
};

struct DirectoryStatus {
    std::uint16_t port = 0;
    std::size_t nodes = 0;           ///< other nodes that answer; 0: alone
    std::size_t stored_records = 0;  ///< for others and for ourselves
    std::size_t own_records = 0;     ///< that are announced by us, those carried for clients included
    std::map<std::string, std::uint64_t> refused;  ///< how many records, by cause (RecordFault)
    std::uint64_t refused_packets = 0;             ///< datagrams that were no messages of the directory
    std::vector<BootstrapStatus> bootstrap;
    std::vector<net::Endpoint> observed;  ///< under which other nodes see us
};

/// Thread: the one of the executor it was made with; it has none of its own.
class OpenDhtDirectory : public SignedDirectory {
  public:
    using SignedDirectory::SignedDirectory;

    virtual std::uint16_t port() const = 0;
    virtual DirectoryStatus status() const = 0;
    /// Other nodes that answer; 0: alone.
    virtual std::size_t neighbours() const = 0;
    /// One more address to be tried for ever.
    virtual void add_bootstrap(net::Endpoint endpoint) = 0;
    /// A node may be at this address (a peer that we have met): asks it once. This is how two halves that
    /// started apart find each other. Ignored unless the host is an IP address.
    virtual void learn(net::Endpoint endpoint) = 0;
    /// Leaves at once; what waits fails with Error(cancelled). Nothing may be asked of it afterwards.
    virtual void shut_down() = 0;
};

/// Throws Error(system) naming the port when it is taken.
std::shared_ptr<OpenDhtDirectory> make_opendht_directory(asio::any_io_executor executor, Clock& clock,
                                                         std::shared_ptr<const Signer> signer,
                                                         OpenDhtSettings settings, Log log);

}  // namespace shoal::dht
