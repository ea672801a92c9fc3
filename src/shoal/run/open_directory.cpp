#include "shoal/run/open_directory.h"

#include <algorithm>

#include "shoal/base/async.h"
#include "shoal/dht/opendht_directory.h"
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
        for (net::Endpoint seen : directory->status().observed) {
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
    static awaitable<std::vector<net::Endpoint>> resolve(std::shared_ptr<dht::OpenDhtDirectory> directory,
                                                         PeerId peer) {
        const std::vector<dht::Record> records = co_await directory->read(address_key(peer));
        std::vector<net::Endpoint> found;
        for (const dht::Record& record : records)
            if (record.owner == peer) found = decode_addresses(record.value);
        for (const net::Endpoint& one : found) directory->learn(one);
        co_return found;
    }

    std::shared_ptr<net::Network> network;
    Clock& clock;
    Log log;
    std::string listen_host;
    std::vector<net::Endpoint> announce;
    bool silent = false;  ///< an observer, or in client mode
    std::shared_ptr<dht::OpenDhtDirectory> directory;
    TaskGroup tasks;
};

DirectoryOwner::DirectoryOwner(std::shared_ptr<net::Network> network, Clock& clock, const KeyPair& key,
                               const RunDefinition& definition, bool observer, Log log)
    : state_(std::make_unique<State>(network, clock, log)) {
    dht::OpenDhtSettings settings;
    // No run: the directory is shared by all runs, so that a seed may be a meeting point of any of them. Keys
    // begin with the run's name.
    settings.listen_host = definition.network.listen_host;
    settings.port = observer ? std::uint16_t{0} : net::listen_port(*network);
    for (const std::string& text : definition.network.bootstrap)
        settings.bootstrap.push_back(net::Endpoint::parse(text));
    state_->directory = dht::make_opendht_directory(
        network->executor(), clock, std::make_shared<KeyPair>(key), std::move(settings), std::move(log));
    state_->listen_host = definition.network.listen_host;
    for (const std::string& text : definition.network.announce)
        state_->announce.push_back(net::Endpoint::parse(text));
    state_->silent = observer || definition.network.client_mode;
    network->set_resolver(
        [directory = state_->directory](PeerId peer) { return State::resolve(directory, peer); });
}

DirectoryOwner::~DirectoryOwner() = default;

dht::Directory& DirectoryOwner::get() {
    return *state_->directory;
}

awaitable<void> DirectoryOwner::start() {
    if (!state_->silent) state_->tasks.spawn(state_->announce_for_ever());
    co_return;
}

awaitable<void> DirectoryOwner::stop() {
    state_->tasks.cancel();
    co_await state_->tasks.settle();
    state_->directory->shut_down();
}

}  // namespace shoal::run
