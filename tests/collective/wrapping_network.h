// A network whose streams are wrapped in something of the test's: the protocol code above it is the real one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "shoal/net/network.h"

namespace shoal::collective {

class WrappingNetwork : public net::Network {
  public:
    /// @param opened  this peer opened the stream (and does not serve it)
    using Wrap =
        std::function<net::StreamPointer(net::StreamPointer, const std::string& service, bool opened)>;
    /// Changes what the peer itself sees of its connections.
    using View = std::function<void(std::vector<net::ConnectionInfo>&)>;

    WrappingNetwork(std::shared_ptr<net::Network> real, Wrap wrap, View view = {})
        : real_(std::move(real)), wrap_(std::move(wrap)), view_(std::move(view)) {}

    const PeerId& self() const override { return real_->self(); }
    asio::any_io_executor executor() const override { return real_->executor(); }
    awaitable<net::StreamPointer> open(PeerId peer, std::string service) override {
        const std::string name = service;
        net::StreamPointer stream = co_await real_->open(peer, std::move(service));
        co_return wrap_(std::move(stream), name, true);
    }
    void serve(std::string service, net::StreamHandler handler, net::Audience audience) override {
        if (!handler) return real_->serve(std::move(service), {});
        const std::string name = service;
        auto wrapped = [name, handler = std::move(handler), wrap = wrap_](net::StreamPointer stream) {
            return handler(wrap(std::move(stream), name, false));
        };
        real_->serve(std::move(service), std::move(wrapped), audience);
    }
    awaitable<PeerId> dial(net::Endpoint endpoint) override { return real_->dial(std::move(endpoint)); }
    std::vector<net::ConnectionInfo> connections() const override {
        std::vector<net::ConnectionInfo> all = real_->connections();
        if (view_) view_(all);
        return all;
    }
    bool is_connected(const PeerId& peer) const override { return real_->is_connected(peer); }
    std::shared_ptr<void> observe(Observer observer) override { return real_->observe(std::move(observer)); }
    void disconnect(const PeerId& peer, const std::string& reason) override {
        real_->disconnect(peer, reason);
    }
    void mark_useful(const PeerId& peer) override { real_->mark_useful(peer); }
    void set_resolver(net::AddressResolver resolver) override { real_->set_resolver(std::move(resolver)); }

  private:
    std::shared_ptr<net::Network> real_;
    Wrap wrap_;
    View view_;
};

}  // namespace shoal::collective
