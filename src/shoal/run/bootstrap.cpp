#include "shoal/run/bootstrap.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "shoal/run/membership.h"

namespace shoal::run {

using namespace std::chrono_literals;

namespace {

/// The causes of a network begin with the numeric address; the user knows the one that was given.
std::string with_address(const net::Endpoint& endpoint, const std::string& cause) {
    const std::string address = endpoint.to_string(), port = ":" + std::to_string(endpoint.port) + ": ";
    if (cause.find(address) != std::string::npos) return cause;
    const std::size_t numeric = cause.find(port);
    const bool one_address = numeric != std::string::npos && cause.find(' ') == numeric + port.size() - 1 &&
                             cause.find(port, numeric + 1) == std::string::npos;
    return address + ": " + (one_address ? cause.substr(numeric + port.size()) : cause);
}

}  // namespace

struct Bootstrap::State {
    State(net::Network& network_, Clock& clock_, Random random_, Log log_)
        : network(network_),
          clock(clock_),
          random(random_),
          log(std::move(log_)),
          changed(network_.executor()) {}
    net::Network& network;
    Clock& clock;
    Random random;
    Log log;

    bool met() const {
        using enum BootstrapAddress::State;
        return std::all_of(addresses.begin(), addresses.end(),
                           [](const auto& one) { return one.state == ourselves; }) ||
               std::any_of(addresses.begin(), addresses.end(),
                           [](const auto& one) { return one.state == connected; });
    }
    /// What those say that refuse us for a setting, once all have been tried and no other answers.
    std::string refused_by_all() const {
        std::string refusals;
        for (const BootstrapAddress& one : addresses) {
            if (one.state == BootstrapAddress::State::dialling) return {};
            if (!one.setting.empty()) refusals += (refusals.empty() ? "" : "; ") + one.cause;
        }
        return refusals;
    }

    std::vector<BootstrapAddress> addresses;
    std::map<PeerId, std::string> lost;  ///< of the peers at the addresses: why the last connection ended
    std::optional<Error> fault;          ///< that dialling again cannot mend
    Signal changed;                      ///< of any address, or of any connection
    std::shared_ptr<void> observing;
};

Bootstrap::Bootstrap(net::Network& network, Clock& clock, Random random, std::vector<net::Endpoint> endpoints,
                     Log log)
    : state_(std::make_shared<State>(network, clock, random, std::move(log))), tasks_(network.executor()) {
    for (net::Endpoint& endpoint : endpoints) {
        BootstrapAddress address;
        address.endpoint = std::move(endpoint);
        state_->addresses.push_back(std::move(address));
    }
    state_->observing = network.observe(
        [weak = std::weak_ptr(state_)](const PeerId& peer, bool connected, const std::string& cause) {
            const auto state = weak.lock();
            if (!state) return;
            for (const BootstrapAddress& address : state->addresses)
                if (!connected && address.peer == peer) state->lost[peer] = cause;
            state->changed.notify();
        });
}

Bootstrap::~Bootstrap() = default;

void Bootstrap::start() {
    for (std::size_t i = 0; i < state_->addresses.size(); ++i) tasks_.spawn(keep_dialling(state_, i));
}

awaitable<void> Bootstrap::stop() {
    tasks_.cancel();
    co_await tasks_.settle();
    state_->observing.reset();
}

awaitable<void> Bootstrap::keep_dialling(std::shared_ptr<State> state, std::size_t index) {
    constexpr Duration kFirstPause = 250ms, kLongPause = 15s;
    Duration pause = kFirstPause;
    for (;;) {
        BootstrapAddress& address = state->addresses[index];
        std::string cause, setting;
        try {
            const PeerId peer = co_await state->network.dial(address.endpoint);
            address.peer = peer;
            if (peer == state->network.self()) {
                address.state = BootstrapAddress::State::ourselves;
                state->changed.notify();
                co_return;
            }
            state->network.mark_useful(peer);
            address.state = BootstrapAddress::State::connected;
            state->log.info("connected to " + address.endpoint.to_string() + " (peer " + peer.short_name() +
                            ")");
            state->changed.notify();
            const TimePoint since = state->clock.now();
            while (state->network.is_connected(peer)) co_await state->changed.wait();
            // What breaks at once again and again is dialled more and more seldom.
            if (state->clock.now() - since > kLongPause) pause = kFirstPause;
            const auto lost = state->lost.find(peer);
            cause = address.endpoint.to_string() + ": the connection was lost" +
                    (lost == state->lost.end() ? "" : " (" + lost->second + ")");
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            cause = with_address(address.endpoint, error.what());
            setting = differing_setting(cause).value_or("");
            if (error.kind() == ErrorKind::bad_input)  // this peer's own fault: no use to try again
                state->fault = Error(error.kind(), "bootstrap address " + cause);
        }
        // Before it has met anybody, a peer whose settings differ ends with that as its error.
        const bool is_news = address.state != BootstrapAddress::State::failed || address.cause != cause;
        if (is_news && (setting.empty() || state->met()))
            state->log.warning("bootstrap address " + cause + "; trying again and again");
        address.state = BootstrapAddress::State::failed;
        address.cause = std::move(cause);
        address.setting = std::move(setting);
        state->changed.notify();
        const double spread = 1 + (state->random.uniform() - 0.5) / 1.5;
        co_await state->clock.sleep_for(from_seconds(seconds(pause) * spread));
        pause = std::min<Duration>(pause * 2, kLongPause);
    }
}

std::vector<BootstrapAddress> Bootstrap::addresses() const {
    return state_->addresses;
}

bool Bootstrap::met() const {
    return state_->met();
}

awaitable<void> Bootstrap::until_met() {
    while (!met()) {
        if (state_->fault) throw Error(*state_->fault);
        if (const std::string refusals = state_->refused_by_all(); !refusals.empty())
            throw Error(ErrorKind::bad_input, refusals);
        co_await state_->changed.wait();
    }
}

awaitable<void> Bootstrap::until_tried() {
    const auto tried = [this] {
        return std::none_of(state_->addresses.begin(), state_->addresses.end(),
                            [](const auto& one) { return one.state == BootstrapAddress::State::dialling; });
    };
    while (!met() && !tried()) co_await state_->changed.wait();
}

awaitable<void> Bootstrap::until_change() {
    co_await state_->changed.wait();
}

std::string Bootstrap::causes() const {
    std::string text;
    for (const BootstrapAddress& one : state_->addresses) {
        if (one.state != BootstrapAddress::State::failed) continue;
        if (!text.empty()) text += "; ";
        text += one.cause;
    }
    return text;
}

}  // namespace shoal::run
