// Datagrams of strangers: what passes our check goes through OpenDHT's own parser, and must do it no harm.
#include <memory>
#include <opendht/dht.h>

#include "shoal/dht/opendht_node.h"
#include "shoal/dht/packet.h"

namespace {

/// Takes everything and sends it nowhere.
class Nowhere final : public dht::net::DatagramSocket {
  public:
    Nowhere() {
        self_.setFamily(AF_INET);
        self_.getIPv4().sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        self_.setPort(1);
    }
    int sendTo(const dht::SockAddr&, const std::uint8_t*, std::size_t, bool) override { return 0; }
    bool hasIPv4() const override { return true; }
    bool hasIPv6() const override { return true; }
    const dht::SockAddr& getBoundRef(sa_family_t) const override { return self_; }
    void stop() override {}

  private:
    dht::SockAddr self_;
};

std::unique_ptr<dht::Dht> make_node() {
    auto node = std::make_unique<dht::Dht>(std::make_unique<Nowhere>(), dht::Config(), nullptr);
    const auto store = [](dht::InfoHash, std::shared_ptr<dht::Value>&, const dht::InfoHash&,
                          const dht::SockAddr&) { return false; };
    node->registerType(dht::ValueType(shoal::dht::kRecordType, "record", std::chrono::seconds(60), store));
    return node;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static std::unique_ptr<dht::Dht> node = make_node();
    static int packets = 0;
    if (shoal::dht::check_packet({data, size}) == shoal::dht::PacketKind::refused) return 0;
    if (++packets % 10'000 == 0) node = make_node();  // what it remembers is bounded by this
    dht::SockAddr from;
    from.setFamily(AF_INET);
    from.getIPv4().sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.setPort(2);
    node->periodic(data, size, from, dht::clock::now());
    return 0;
}
