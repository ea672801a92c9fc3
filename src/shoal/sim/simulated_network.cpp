#include "shoal/sim/simulated_network.h"

#include <fmt/format.h>

#include "shoal/sim/simulated_host.h"

namespace shoal::sim {

namespace {

/// What a peer's code holds; the host leaves the Internet with it.
class SimulatedNetwork final : public net::Network {
  public:
    explicit SimulatedNetwork(std::shared_ptr<SimulatedHost> host, asio::any_io_executor executor)
        : host_(std::move(host)), executor_(std::move(executor)) {}
    ~SimulatedNetwork() override { host_->leave(); }

    const PeerId& self() const override { return host_->id(); }
    asio::any_io_executor executor() const override { return executor_; }
    awaitable<net::StreamPointer> open(PeerId peer, std::string service) override {
        return host_->open(peer, std::move(service));
    }
    void serve(std::string service, net::StreamHandler handler, net::Audience) override {  // all are members
        host_->serve(std::move(service), std::move(handler));
    }
    awaitable<PeerId> dial(net::Endpoint endpoint) override { return host_->dial(std::move(endpoint)); }
    std::vector<net::ConnectionInfo> connections() const override { return host_->connections(); }
    bool is_connected(const PeerId& peer) const override { return host_->is_connected(peer); }
    std::shared_ptr<void> observe(Observer observer) override { return host_->observe(std::move(observer)); }
    void disconnect(const PeerId& peer, const std::string& reason) override {
        host_->disconnect(peer, reason);
    }
    void mark_useful(const PeerId&) override {}  // there is room for everybody
    void set_resolver(net::AddressResolver resolver) override { host_->set_resolver(std::move(resolver)); }

  private:
    std::shared_ptr<SimulatedHost> host_;
    asio::any_io_executor executor_;
};

}  // namespace

SimulatedInternet::SimulatedInternet(Simulation& simulation, InternetSettings settings)
    : simulation_(simulation),
      settings_(settings),
      random_(simulation.random().split()),
      topology_changed_(simulation.executor()) {}

SimulatedInternet::~SimulatedInternet() {
    for (const auto& [id, host] : hosts_) host->leave();
    for (const auto& host : replaced_) host->leave();
}

std::shared_ptr<net::Network> SimulatedInternet::join(const PeerId& id, HostSettings settings) {
    if (const auto old = hosts_.find(id);
        old != hosts_.end() && !old->second->crashed() && !old->second->gone())
        throw Error(ErrorKind::invalid_argument, "this peer is on the simulated Internet already",
                    id.short_name());
    const std::uint32_t number = ++joined_;
    const net::Endpoint endpoint{
        fmt::format("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255), 31337};
    auto host = std::make_shared<SimulatedHost>(*this, id, settings, endpoint);
    if (const auto old = hosts_.find(id); old != hosts_.end()) replaced_.push_back(old->second);
    hosts_[id] = by_id_[id] = host;
    endpoints_[endpoint] = id;
    changed("join", id);
    return std::make_shared<SimulatedNetwork>(std::move(host), simulation_.executor());
}

std::shared_ptr<SimulatedHost> SimulatedInternet::find(const PeerId& id) const {
    const auto found = by_id_.find(id);
    if (found == by_id_.end())
        throw Error(ErrorKind::invalid_argument, "is not on the simulated Internet", id.short_name());
    return found->second;
}

std::shared_ptr<SimulatedHost> SimulatedInternet::find_endpoint(const net::Endpoint& endpoint) const {
    const auto id = endpoints_.find(endpoint);
    if (id == endpoints_.end()) return nullptr;
    const auto host = find(id->second);
    return host->endpoint() == endpoint ? host : nullptr;  // a restarted peer has a new address
}

VirtualClock& SimulatedInternet::clock(const PeerId& id) {
    return find(id)->clock();
}
net::Endpoint SimulatedInternet::endpoint(const PeerId& id) const {
    return find(id)->endpoint();
}
Traffic SimulatedInternet::traffic(const PeerId& id) const {
    return find(id)->traffic();
}
bool SimulatedInternet::is_crashed(const PeerId& id) const {
    return find(id)->crashed();
}
bool SimulatedInternet::is_frozen(const PeerId& id) const {
    return find(id)->frozen();
}

void SimulatedInternet::changed(std::string_view what, const PeerId& id) {
    simulation_.trace().note(simulation_.timeline()->now(), what, std::hash<PeerId>()(id));
    topology_changed_.notify();
    const auto actions = on_change_;
    for (const auto& action : actions) action();
}

void SimulatedInternet::crash(const PeerId& id) {
    const auto host = find(id);
    if (host->crashed()) return;
    host->crash();
    changed("crash", id);
    const auto actions = on_crash_;
    for (const auto& action : actions) action(id);
}

void SimulatedInternet::freeze(const PeerId& id) {
    find(id)->freeze();
    changed("freeze", id);
}

void SimulatedInternet::thaw(const PeerId& id) {
    find(id)->thaw();
    changed("thaw", id);
}

void SimulatedInternet::cut(const PeerId& a, const PeerId& b) {
    find(a)->cut(b);
    find(b)->cut(a);
    changed("cut", a);
}

void SimulatedInternet::half_close(const PeerId& known_to, const PeerId& other) {
    find(other)->expect_silence(known_to);
    find(known_to)->cut(other);
    changed("half close", known_to);
}

int SimulatedInternet::group_of(const PeerId& id) const {
    const auto found = groups_.find(id);
    return found == groups_.end() ? -1 : found->second;
}

bool SimulatedInternet::is_reachable(const PeerId& a, const PeerId& b) const {
    return groups_.empty() || group_of(a) == group_of(b);
}

void SimulatedInternet::partition(std::vector<std::vector<PeerId>> groups) {
    groups_.clear();
    ++partitions_;
    for (std::size_t group = 0; group < groups.size(); ++group)
        for (const PeerId& id : groups[group]) groups_[id] = static_cast<int>(group);
    for (const auto& [id, host] : hosts_)
        for (const auto& connection : host->connections())
            if (!is_reachable(id, connection.peer)) host->expect_silence(connection.peer);
    changed("partition", PeerId());
}

void SimulatedInternet::heal() {
    groups_.clear();
    ++partitions_;
    for (const auto& [id, host] : hosts_) host->release_held();
    changed("heal", PeerId());
}

void SimulatedInternet::set_rates(const PeerId& id, double upload_rate, double download_rate) {
    find(id)->set_rates(upload_rate, download_rate);
}

void SimulatedInternet::after_messages(const PeerId& id, std::uint64_t n, std::function<void()> action,
                                       std::string service) {
    find(id)->add_hook({false, n, std::move(service), std::move(action)});
}

void SimulatedInternet::after_bytes(const PeerId& id, std::uint64_t n, std::function<void()> action,
                                    std::string service) {
    find(id)->add_hook({true, n, std::move(service), std::move(action)});
}

}  // namespace shoal::sim
