#include "dht/captured_packets.h"

#include <deque>
#include <opendht/dht.h>

#include "shoal/base/identity.h"
#include "shoal/dht/opendht_node.h"

namespace shoal::dht {
namespace {

using namespace std::chrono_literals;

::dht::SockAddr address(std::uint16_t port) {
    ::dht::SockAddr result;
    result.setFamily(AF_INET);
    result.getIPv4().sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    result.setPort(port);
    return result;
}

struct Datagram {
    ::dht::SockAddr from, to;
    Bytes bytes;
};

class MemorySocket final : public ::dht::net::DatagramSocket {
  public:
    MemorySocket(std::uint16_t port, std::deque<Datagram>& wire) : self_(address(port)), wire_(wire) {}
    int sendTo(const ::dht::SockAddr& to, const std::uint8_t* data, std::size_t size, bool) override {
        wire_.push_back({self_, to, Bytes(data, data + size)});
        return 0;
    }
    bool hasIPv4() const override { return true; }
    bool hasIPv6() const override { return true; }
    const ::dht::SockAddr& getBoundRef(sa_family_t) const override { return self_; }
    void stop() override {}

  private:
    ::dht::SockAddr self_;
    std::deque<Datagram>& wire_;
};

class Conversation {
  public:
    Conversation() {
        for (std::uint16_t port : {1, 2}) {
            ::dht::Config config;
            config.network = 7;
            auto socket = std::make_unique<MemorySocket>(port, wire_);
            auto node = std::make_unique<::dht::Dht>(std::move(socket), config, nullptr);
            node->registerType(::dht::ValueType(kRecordType, "record", 60s, allow, allow_edit));
            node->registerType(::dht::ValueType(kPushType, "push", 60s, allow, allow_edit));
            nodes_.push_back(std::move(node));
        }
    }

    std::vector<Bytes> run() {
        one().pingNode(address(2));
        settle();
        // A fresh node asks around for others: 'find'.
        get(::dht::InfoHash::get("nowhere"), {});
        settle();
        two().listen(key_, [](const auto&, bool) { return true; });
        settle();
        for (int i = 0; i < 4; ++i) put(one(), i, kMaximumValueBytes);
        settle();
        // Who listens late is told of all at once, which do not fit one packet: parts.
        one().listen(key_, [](const auto&, bool) { return true; });
        settle();
        get(key_, ::dht::Where().valueType(kRecordType));
        settle();
        // Somebody else keeps alive what is there: 'refresh'.
        two().put(key_, value(1, kMaximumValueBytes), ::dht::DoneCallback{}, ::dht::time_point::max(), true);
        settle();
        // A put with a token that nobody gave: an error.
        Bytes forged = sent_put_;
        for (std::size_t i = 0; i + 6 < forged.size(); ++i)
            if (as_text(ByteView(forged).subspan(i, 5)) == "token") forged[i + 10] ^= 1;
        wire_.push_back({address(1), address(2), forged});
        settle();
        return std::move(packets_);
    }

  private:
    static bool allow(::dht::InfoHash, std::shared_ptr<::dht::Value>&, const ::dht::InfoHash&,
                      const ::dht::SockAddr&) {
        return true;
    }
    static bool allow_edit(::dht::InfoHash, const std::shared_ptr<::dht::Value>&,
                           std::shared_ptr<::dht::Value>&, const ::dht::InfoHash&, const ::dht::SockAddr&) {
        return true;
    }

    ::dht::Dht& one() { return *nodes_[0]; }
    ::dht::Dht& two() { return *nodes_[1]; }

    std::shared_ptr<::dht::Value> value(int number, std::size_t size) const {
        const std::array<std::uint8_t, 32> seed{static_cast<std::uint8_t>(number)};
        const KeyHash key = *KeyHash::from_bytes(ByteView(key_.data(), ::dht::InfoHash::size()));
        const WallTime expires{std::chrono::milliseconds(1700000000000)};
        return to_value(key, sign_record(KeyPair::from_seed(seed), key, "", 1, expires, Bytes(size, 7)),
                        kRecordType);
    }
    void get(const ::dht::InfoHash& key, ::dht::Where where) {
        ::dht::GetCallback on_values = [](const std::vector<std::shared_ptr<::dht::Value>>&) { return true; };
        two().get(key, std::move(on_values), ::dht::DoneCallback{}, {}, std::move(where));
    }
    void put(::dht::Dht& node, int number, std::size_t size) { node.put(key_, value(number, size)); }

    /// Until nobody has anything to say.
    void settle() {
        for (int quiet = 0; quiet < 3; ++quiet) {
            for (const auto& node : nodes_) node->periodic(nullptr, 0, {}, ::dht::clock::now());
            while (!wire_.empty()) {
                const Datagram datagram = std::move(wire_.front());
                wire_.pop_front();
                packets_.push_back(datagram.bytes);
                if (as_text(datagram.bytes).find("\xa1q\xa3put") != std::string_view::npos)
                    sent_put_ = datagram.bytes;
                nodes_[datagram.to.getPort() - 1]->periodic(datagram.bytes.data(), datagram.bytes.size(),
                                                            datagram.from, ::dht::clock::now());
                quiet = 0;
            }
        }
    }

    const ::dht::InfoHash key_ = ::dht::InfoHash::get("key");
    std::deque<Datagram> wire_;
    std::vector<std::unique_ptr<::dht::Dht>> nodes_;
    std::vector<Bytes> packets_;
    Bytes sent_put_;
};

}  // namespace

std::vector<Bytes> captured_packets() {
    return Conversation().run();
}

}  // namespace shoal::dht
