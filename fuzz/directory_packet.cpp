// Datagrams of strangers: what passes our check goes through OpenDHT's own parser, and must do it no harm.
#include <array>
#include <memory>
#include <opendht/dht.h>
#include <string_view>

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

void feed(shoal::ByteView packet) {
    static std::unique_ptr<dht::Dht> node = make_node();
    static int packets = 0;
    if (shoal::dht::check_packet(packet) == shoal::dht::PacketKind::refused) return;
    if (++packets % 10'000 == 0) node = make_node();  // what it remembers is bounded by this
    dht::SockAddr from;
    from.setFamily(AF_INET);
    from.getIPv4().sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.setPort(2);
    node->periodic(packet.data(), packet.size(), from, dht::clock::now());
}

/// Around the body of a message: a request, an answer, or an update.
shoal::Bytes wrap(std::uint8_t choice, shoal::ByteView body) {
    constexpr std::array<std::string_view, 7> queries{"ping",   "find",    "get",   "put",
                                                      "listen", "refresh", "update"};
    const auto append = [](shoal::Bytes& to, std::string_view text) {
        to.push_back(static_cast<std::uint8_t>(0xa0 + text.size()));
        to.insert(to.end(), text.begin(), text.end());
    };
    shoal::Bytes packet{0x83};
    append(packet, choice % 9 == 7 ? "r" : choice % 9 == 8 ? "u" : "a");
    packet.insert(packet.end(), body.begin(), body.end());
    append(packet, "q");
    append(packet, queries[choice % queries.size()]);
    append(packet, "t");
    packet.push_back(7);
    return packet;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    feed({data, size});
    if (size > 1) feed(wrap(data[0], {data + 1, size - 1}));
    return 0;
}
