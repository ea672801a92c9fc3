#include "shoal/run/open_directory.h"

#include "shoal/dht/opendht_directory.h"

namespace shoal::run {

struct DirectoryOwner::State {
    std::shared_ptr<net::Network> network;
    std::shared_ptr<dht::OpenDhtDirectory> directory;
};

DirectoryOwner::DirectoryOwner(std::shared_ptr<net::Network> network, Clock& clock, const KeyPair& key,
                               const RunDefinition& definition, bool observer, Log log)
    : state_(std::make_unique<State>()) {
    dht::OpenDhtSettings settings;
    // No run: the directory is shared by all runs, so that a seed may be a meeting point of any of them. Keys
    // begin with the run's name.
    settings.listen_host = definition.network.listen_host;
    settings.port = observer ? std::uint16_t{0} : net::listen_port(*network);
    for (const std::string& text : definition.network.bootstrap)
        settings.bootstrap.push_back(net::Endpoint::parse(text));
    state_->directory = dht::make_opendht_directory(network->executor(), clock, std::make_shared<KeyPair>(key),
                                                    std::move(settings), std::move(log));
    state_->network = std::move(network);
}

DirectoryOwner::~DirectoryOwner() = default;

dht::Directory& DirectoryOwner::get() {
    return *state_->directory;
}

awaitable<void> DirectoryOwner::start() {
    co_return;
}

awaitable<void> DirectoryOwner::stop() {
    state_->directory->shut_down();
    co_return;
}

}  // namespace shoal::run
