#include "shoal/net/tcp_network.h"

#include <utility>

#include "shoal/net/tcp_node.h"

namespace shoal::net {
namespace {

/// What callers hold. The node lives on as long as its tasks run; destroying this ends them.
class TcpNetwork final : public Network {
  public:
    explicit TcpNetwork(std::shared_ptr<TcpNode> node) : node_(std::move(node)) {}
    ~TcpNetwork() override {
        node_->stop_listening();
        // Posted, because this object may die with the frame of one of the node's own tasks.
        asio::post(node_->executor(), [weak = std::weak_ptr<TcpNode>(node_)] {
            if (const auto node = weak.lock()) node->stop();
        });
    }

    const PeerId& self() const override { return node_->self(); }
    asio::any_io_executor executor() const override { return node_->executor(); }
    awaitable<StreamPointer> open(PeerId peer, std::string service) override {
        return node_->open(peer, std::move(service));
    }
    void serve(std::string service, StreamHandler handler, Audience audience) override {
        node_->serve(std::move(service), std::move(handler), audience);
    }
    awaitable<PeerId> dial(Endpoint endpoint) override { return node_->dial(std::move(endpoint)); }
    std::vector<ConnectionInfo> connections() const override { return node_->connections(); }
    bool is_connected(const PeerId& peer) const override { return node_->is_connected(peer); }
    std::shared_ptr<void> observe(Observer observer) override { return node_->observe(std::move(observer)); }
    void disconnect(const PeerId& peer, const std::string& reason) override {
        node_->disconnect(peer, reason);
    }
    void mark_useful(const PeerId& peer) override { node_->mark_useful(peer); }
    void set_resolver(AddressResolver resolver) override { node_->set_resolver(std::move(resolver)); }

    const std::shared_ptr<TcpNode>& node() const { return node_; }

  private:
    const std::shared_ptr<TcpNode> node_;
};

const std::shared_ptr<TcpNode>& node_of(const Network& network) {
    const auto* tcp = dynamic_cast<const TcpNetwork*>(&network);
    if (!tcp) throw Error(ErrorKind::invalid_argument, "this network was not made by make_tcp_network");
    return tcp->node();
}

}  // namespace

std::shared_ptr<Network> make_tcp_network(asio::any_io_executor executor, Clock& clock, KeyPair key,
                                          NetworkSettings settings, Log log) {
    auto node = std::make_shared<TcpNode>(std::move(executor), clock, std::move(key), std::move(settings),
                                          std::move(log));
    node->start();
    return std::make_shared<TcpNetwork>(std::move(node));
}

std::uint16_t listen_port(const Network& network) {
    return node_of(network)->listen_port();
}

awaitable<void> shut_down(std::shared_ptr<Network> network) {
    co_await node_of(*network)->shut_down();
}

}  // namespace shoal::net
