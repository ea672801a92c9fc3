#include "shoal/run/open_directory.h"

#include <algorithm>

#include "shoal/base/async.h"
#include "shoal/dht/directory_service.h"
#include "shoal/dht/fallback_directory.h"
#include "shoal/dht/opendht_directory.h"
#include "shoal/dht/remote_directory.h"
#include "shoal/run/addresses.h"
#include "shoal/run/node.h"

namespace shoal::run {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAddressLifetime = 120s;
constexpr Duration kAddressRenewal = 30s;
constexpr Duration kAfterFailure = 2s;

}  // namespace

struct DirectoryOwner::State {
    State(const std::shared_ptr<net::Network>& network_, Clock& clock_, Log log_)
        : network(network_), clock(clock_), log(std::move(log_)), tasks(network_->executor()) {}

    /// What the user says, or else this machine's own addresses and those under which others see it.
    std::vector<net::Endpoint> endpoints() const {
        if (!announce.empty()) return announce;
        const std::uint16_t port = net::listen_port(*network);
        std::vector<net::Endpoint> all = local_endpoints(listen_host, port);
        if (!udp) return all;
        for (net::Endpoint seen : udp->status().observed) {
            seen.port = port;
            if (std::find(all.begin(), all.end(), seen) == all.end()) all.push_back(std::move(seen));
        }
        return all;
    }

    awaitable<void> announce_for_ever() {
        for (;;) {
            Duration pause = kAddressRenewal;
            Bytes value = encode_addresses(endpoints());
            try {
                co_await directory->publish(address_key(network->self()), "", std::move(value),
                                            kAddressLifetime);
            } catch (const Error& error) {
                if (error.kind() == ErrorKind::cancelled) throw;
                log.debug(std::string("this peer's address is not in the directory: ") + error.what());
                pause = kAfterFailure;
            }
            co_await clock.sleep_for(pause);
        }
    }

    /// Where a peer can be dialled, by its own signed record. Whom we learn of this way may run a node of the
    /// directory there, too: so halves that started apart grow together.
    static awaitable<std::vector<net::Endpoint>> resolve(std::shared_ptr<dht::Directory> directory,
                                                         std::shared_ptr<dht::OpenDhtDirectory> udp,
                                                         PeerId peer) {
        const std::vector<dht::Record> records = co_await directory->read(address_key(peer));
        std::vector<net::Endpoint> found;
        for (const dht::Record& record : records)
            if (record.owner == peer) found = decode_addresses(record.value);
        if (udp)
            for (const net::Endpoint& one : found) udp->learn(one);
        co_return found;
    }

    std::function<std::size_t()> neighbours() const {
        return [directory = udp] { return directory->neighbours(); };
    }

    std::shared_ptr<net::Network> network;
    Clock& clock;
    Log log;
    bool observer = false;
    std::string listen_host;
    std::vector<net::Endpoint> announce;
    bool silent = false;                           ///< an observer, or in client mode
    std::shared_ptr<dht::OpenDhtDirectory> udp;    ///< nothing with "through-peers"
    std::shared_ptr<dht::RemoteDirectory> remote;  ///< nothing with "udp"
    std::shared_ptr<dht::FallbackDirectory> both;  ///< only with "auto"
    std::shared_ptr<dht::Directory> directory;     ///< the one of them that is used
    std::shared_ptr<void> lending;
    TaskGroup tasks;
};

DirectoryOwner::DirectoryOwner(std::shared_ptr<net::Network> network, Clock& clock, const KeyPair& key,
                               const RunDefinition& definition, bool observer, Log log)
    : state_(std::make_unique<State>(network, clock, log)) {
    State& state = *state_;
    state.observer = observer;
    const auto signer = std::make_shared<KeyPair>(key);
    const std::string& way = definition.network.directory;
    if (way != "through-peers") {
        dht::OpenDhtSettings settings;
        // No run: the directory is shared by all runs, so that a seed may be a meeting point of any of them.
        // Keys begin with the run's name.
        settings.listen_host = definition.network.listen_host;
        settings.port = observer ? std::uint16_t{0} : net::listen_port(*network);
        for (const std::string& text : definition.network.bootstrap)
            settings.bootstrap.push_back(net::Endpoint::parse(text));
        state.udp = dht::make_opendht_directory(network->executor(), clock, signer, std::move(settings), log);
        state.directory = state.udp;
    }
    if (way != "udp") {
        const bool lends = state.udp && !observer;
        state.remote = dht::make_remote_directory(network, clock, signer, lends, log);
        state.directory = state.remote;
    }
    if (state.udp && state.remote) {
        dht::FallbackParts parts;
        parts.own = state.udp;
        parts.neighbours = state.neighbours();
        parts.remote = state.remote;
        parts.signer = signer;
        state.both = dht::make_fallback_directory(network->executor(), clock, std::move(parts), log);
        state.directory = state.both;
    }
    if (!state.udp) log.info("directory: only through connected peers, as [network] directory says");
    state.listen_host = definition.network.listen_host;
    for (const std::string& text : definition.network.announce)
        state.announce.push_back(net::Endpoint::parse(text));
    state.silent = observer || definition.network.client_mode;
    network->set_resolver([directory = state.directory, udp = state.udp](PeerId peer) {
        return State::resolve(directory, udp, peer);
    });
}

DirectoryOwner::~DirectoryOwner() {
    state_->network->set_resolver({});  // which holds the directory, which holds the network
}

dht::Directory& DirectoryOwner::get() {
    return *state_->directory;
}

awaitable<void> DirectoryOwner::start() {
    State& state = *state_;
    if (state.udp && !state.observer)
        state.lending = dht::serve_directory(state.network, state.clock, state.udp, state.neighbours());
    if (!state.silent) state.tasks.spawn(state.announce_for_ever());
    co_return;
}

awaitable<void> DirectoryOwner::stop() {
    State& state = *state_;
    state.lending.reset();
    state.tasks.cancel();
    co_await state.tasks.settle();
    if (state.both) state.both->shut_down();
    if (state.remote) state.remote->shut_down();
    if (state.udp) state.udp->shut_down();
}

}  // namespace shoal::run
