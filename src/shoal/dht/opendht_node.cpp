#include "shoal/dht/opendht_node.h"

#include <algorithm>
#include <asio/post.hpp>
#include <cerrno>

#include "shoal/base/error.h"
#include "shoal/dht/opendht_directory.h"
#include "shoal/dht/packet.h"

namespace shoal::dht {

namespace {

/// Longer than any record lives, by more than clocks may differ: OpenDHT counts from the publisher's wall
/// clock.
constexpr std::chrono::seconds kRecordLife = kMaximumTimeToLive + 2 * kClockTolerance;

bool is_our_type(::dht::ValueType::Id id) {
    return id == kRecordType || id == kPushType;
}

constexpr std::size_t kMaximumGreeted = 4096;

::dht::Value::Id value_id(const KeyHash& key, const SignedRecord& record, ::dht::ValueType::Id type) {
    Sha256 hash;
    hash.update(as_bytes("shoal value id 1:"));
    hash.update(key.bytes);
    if (type == kPushType) {
        hash.update(record.signature);
    } else {
        hash.update(record.owner);
        hash.update(as_bytes(record.subkey));
    }
    const Digest digest = hash.finish();
    ::dht::Value::Id id = 0;
    for (std::size_t i = 0; i < sizeof id; ++i) id = id << 8 | digest.bytes[i];
    return id == ::dht::Value::INVALID_ID ? 1 : id;
}

/// A value of ours, read: a push says under which key its record lies.
struct ValueContents {
    KeyHash key;
    ByteView record;
};

std::optional<ValueContents> contents_of(const ::dht::InfoHash& place, const ::dht::Value& value) {
    ByteView bytes(value.data);
    if (value.type != kPushType) {
        const auto key = KeyHash::from_bytes(ByteView(place.data(), ::dht::InfoHash::size()));
        return ValueContents{*key, bytes};
    }
    if (bytes.size() < sizeof(KeyHash)) return std::nullopt;
    const auto key = KeyHash::from_bytes(bytes.first(sizeof(KeyHash)));
    if (place_of(*key, kPushType) != place) return std::nullopt;
    return ValueContents{*key, bytes.subspan(sizeof(KeyHash))};
}

/// Runs of different names do not see each other's packets.
::dht::NetId network_id(const std::string& run) {
    const Digest digest = sha256(as_bytes("shoal network 1:" + run));
    ::dht::NetId id = 0;
    for (std::size_t i = 0; i < sizeof id; ++i) id = id << 8 | digest.bytes[i];
    return id == 0 ? 1 : id;
}

::dht::Config make_config(const OpenDhtSettings& settings) {
    ::dht::Config config;
    config.network = network_id(settings.run);
    config.max_req_per_sec = settings.limit_rate ? 8000 : -1;
    config.max_peer_req_per_sec = settings.limit_rate ? 4000 : -1;
    config.public_stable = true;  // a search that fails does not mean that our address has changed
    return config;
}

/// OpenDHT wants to own its socket, and so does what receives from it.
class SocketHandle final : public ::dht::net::DatagramSocket {
  public:
    using Send = std::function<int(const ::dht::SockAddr&, ByteView)>;
    SocketHandle(std::shared_ptr<UdpSocket> socket, Send send)
        : socket_(std::move(socket)), send_(std::move(send)) {}
    int sendTo(const ::dht::SockAddr& dest, const std::uint8_t* data, std::size_t size, bool) override {
        return send_(dest, {data, size});
    }
    bool hasIPv4() const override { return socket_->hasIPv4(); }
    /// Dht::listen (2.4.12) silently gives up local listeners where there is no IPv6, so there always is
    /// some; that nothing can be sent over it does no harm.
    bool hasIPv6() const override { return true; }
    const ::dht::SockAddr& getBoundRef(sa_family_t family) const override {
        return socket_->getBoundRef(family);
    }
    std::vector<::dht::SockAddr> resolve(const std::string&, const std::string&) override { return {}; }
    void stop() override { socket_->stop(); }

  private:
    std::shared_ptr<UdpSocket> socket_;
    Send send_;
};

}  // namespace

::dht::InfoHash to_info_hash(const KeyHash& key) {
    return ::dht::InfoHash(key.bytes.data(), key.bytes.size());
}

::dht::InfoHash place_of(const KeyHash& key, ::dht::ValueType::Id type) {
    if (type != kPushType) return to_info_hash(key);
    Sha256 hash;
    hash.update(as_bytes("shoal directory push 1:"));
    hash.update(key.bytes);
    return ::dht::InfoHash(hash.finish().bytes.data(), ::dht::InfoHash::size());
}

std::shared_ptr<::dht::Value> to_value(const KeyHash& key, const SignedRecord& record,
                                       ::dht::ValueType::Id type) {
    ::dht::Blob data = encode_record(record);
    if (type == kPushType) data.insert(data.begin(), key.bytes.begin(), key.bytes.end());
    auto value = std::make_shared<::dht::Value>(type, std::move(data));
    value->id = value_id(key, record, type);
    return value;
}

OpenDhtNode::OpenDhtNode(asio::any_io_executor executor, Clock& clock, const OpenDhtSettings& settings,
                         Log log)
    : executor_(std::move(executor)),
      clock_(clock),
      log_(std::move(log)),
      store_(settings.limits),
      socket_(std::make_shared<UdpSocket>(executor_, settings.listen_host, settings.port)),
      wake_up_(executor_),
      silence_look_(executor_) {
    // The Dht, which owns the handle, is ours.
    auto handle = std::make_unique<SocketHandle>(
        socket_, [this](const ::dht::SockAddr& to, ByteView packet) { return send_packet(to, packet); });
    dht_ = std::make_unique<::dht::Dht>(std::move(handle), make_config(settings),
                                        std::shared_ptr<::dht::Logger>());
    register_types(settings.refuse_foreign_types);
}

void OpenDhtNode::start() {
    socket_->receive(
        [weak = weak_from_this()](const std::uint8_t* data, std::size_t size, const ::dht::SockAddr& from) {
            if (const auto self = weak.lock()) self->take_packet(data, size, from);
        },
        [weak = weak_from_this()](const ::dht::SockAddr& by) {
            if (const auto self = weak.lock()) self->silence_.refused_by(by, self->clock_.now());
        });
    step_soon();
}

void OpenDhtNode::close() {
    if (closed_) return;
    closed_ = true;
    wake_up_.cancel();
    silence_look_.cancel();
    dht_->shutdown({}, true);
    socket_->stop();
    // Not destroyed here: we may be inside one of its callbacks.
    asio::post(executor_, [kept = std::shared_ptr<::dht::Dht>(std::move(dht_))] {});
}

void OpenDhtNode::register_types(bool refuse_foreign_types) {
    using ::dht::InfoHash, ::dht::SockAddr, ::dht::Value, ::dht::ValueType;
    using ValuePointer = std::shared_ptr<Value>;
    // The types live no longer than the Dht, which we own.
    const auto store = [this](InfoHash key, ValuePointer& value, const InfoHash&, const SockAddr&) {
        return admit(key, *value);
    };
    const auto edit = [this](InfoHash key, const ValuePointer&, ValuePointer& value, const InfoHash&,
                             const SockAddr&) { return admit(key, *value); };
    if (refuse_foreign_types) {
        // OpenDHT stores whatever has a type that it does not know. So it shall know them all.
        const ValueType foreign(
            0, "", std::chrono::seconds(1),
            [](InfoHash, ValuePointer&, const InfoHash&, const SockAddr&) { return false; });
        ValueType type = foreign;
        for (unsigned id = 0; id <= 0xffff; ++id) {
            type.id = static_cast<ValueType::Id>(id);
            if (!is_our_type(type.id)) dht_->registerType(type);
        }
    }
    dht_->registerType(ValueType(kRecordType, "shoal record", kRecordLife, store, edit));
    dht_->registerType(ValueType(kPushType, "shoal push", kPushLife, store, edit));
}

RecordFault OpenDhtNode::admit_record(const ::dht::InfoHash& place, const ::dht::Value& value) {
    if (!is_our_type(value.type) || value.isEncrypted() || value.owner || !value.user_type.empty())
        return RecordFault::malformed;
    const std::optional<ValueContents> contents = contents_of(place, value);
    if (!contents) return RecordFault::malformed;
    const KeyHash& key = contents->key;
    RecordFault fault = RecordFault::none;
    const std::optional<SignedRecord> record = decode_record(contents->record, fault);
    if (!record) return fault;
    if (value.id != value_id(key, *record, value.type)) return RecordFault::malformed;
    const WallTime now = clock_.wall_now();
    if (record->expires > now && store_.holds(key, *record)) return RecordFault::none;
    // Before the signature, which costs most.
    fault = store_.would_refuse(key, *record, now);
    if (fault != RecordFault::none && fault != RecordFault::quota) return fault;
    fault = check_record(*record, key, now);
    return fault != RecordFault::none ? fault : store_.offer(key, *record, now).fault;
}

bool OpenDhtNode::admit(const ::dht::InfoHash& place, const ::dht::Value& value) {
    const RecordFault fault = admit_record(place, value);
    ++refused_[static_cast<std::size_t>(fault)];
    return fault == RecordFault::none;
}

std::optional<SignedRecord> OpenDhtNode::check(const KeyHash& key, const ::dht::Value& value) {
    if (!is_our_type(value.type) || value.isEncrypted()) return std::nullopt;
    const std::optional<ValueContents> contents = contents_of(place_of(key, value.type), value);
    if (!contents || contents->key != key) return std::nullopt;
    RecordFault fault = RecordFault::none;
    std::optional<SignedRecord> record = decode_record(contents->record, fault);
    if (!record) return std::nullopt;
    const WallTime now = clock_.wall_now();
    if (record->expires > now && store_.holds(key, *record)) return record;
    if (check_record(*record, key, now) != RecordFault::none) return std::nullopt;
    return record;
}

void OpenDhtNode::put_value(const ::dht::InfoHash& place, std::shared_ptr<::dht::Value> value, Done done) {
    dht_->put(place, std::move(value), ::dht::bindDoneCb(std::move(done)));
    step_soon();
}

void OpenDhtNode::put(const KeyHash& key, const SignedRecord& record, Done done) {
    put_value(to_info_hash(key), to_value(key, record, kRecordType), std::move(done));
}

void OpenDhtNode::push(const KeyHash& key, const SignedRecord& record) {
    dht_->put(place_of(key, kPushType), to_value(key, record, kPushType));
    step_soon();
}

void OpenDhtNode::get(const KeyHash& key, Found found, Done done) {
    ::dht::GetCallback on_values = [weak = weak_from_this(), key,
                                    found = std::move(found)](const auto& values) {
        const auto self = weak.lock();
        if (!self || self->closed_) return false;
        for (const auto& value : values)
            if (const auto record = self->check(key, *value)) found(*record);
        return true;
    };
    dht_->get(to_info_hash(key), std::move(on_values), ::dht::bindDoneCb(std::move(done)), {},
              ::dht::Where().valueType(kRecordType));
    step_soon();
}

std::size_t OpenDhtNode::listen(const KeyHash& key, Found found) {
    ::dht::ValueCallback on_values = [weak = weak_from_this(), key, found = std::move(found)](
                                         const auto& values, bool expired) {
        const auto self = weak.lock();
        if (!self || self->closed_) return false;
        if (expired) return true;
        for (const auto& value : values)
            if (const auto record = self->check(key, *value)) found(*record);
        return true;
    };
    const std::size_t token = dht_->listen(place_of(key, kPushType), std::move(on_values));
    step_soon();
    return token;
}

void OpenDhtNode::cancel_listen(const KeyHash& key, std::size_t token) {
    if (!closed_) dht_->cancelListen(place_of(key, kPushType), token);
}

void OpenDhtNode::ping(const asio::ip::udp::endpoint& endpoint, Done done) {
    dht_->pingNode(to_sock_addr(endpoint), std::move(done));
    step_soon();
}

std::size_t OpenDhtNode::good_nodes() const {
    if (closed_) return 0;
    return dht_->getNodesStats(AF_INET).good_nodes + dht_->getNodesStats(AF_INET6).good_nodes;
}

std::vector<::dht::InfoHash> OpenDhtNode::known_nodes() const {
    std::vector<::dht::InfoHash> ids;
    if (closed_) return ids;
    for (const auto& node : dht_->exportNodes()) ids.push_back(node.id);
    return ids;
}

std::vector<std::string> OpenDhtNode::observed_addresses() {
    std::vector<std::string> addresses;
    if (closed_) return addresses;
    for (const auto& address : dht_->getPublicAddress(0)) addresses.push_back(address.toString());
    return addresses;
}

void OpenDhtNode::take_packet(const std::uint8_t* data, std::size_t size, const ::dht::SockAddr& from) {
    if (check_packet({data, size}) == PacketKind::refused) {
        ++refused_packets_;
        return;
    }
    silence_.heard_from(from, clock_.now());
    step(data, size, from);
}

/// What OpenDHT sends. Pings go to silent addresses, too: they are how one comes back.
int OpenDhtNode::send_packet(const ::dht::SockAddr& to, ByteView packet) {
    if (closed_) return ENOTCONN;
    const PacketKind kind = check_packet(packet);
    if (kind == PacketKind::request && silence_.is_silent(to)) return EHOSTUNREACH;
    if (kind == PacketKind::request || kind == PacketKind::ping) {
        silence_.asked(to, packet, clock_.now());
        if (silence_look_at_ > clock_.now() + Silence::kTick) look_for_silence_after(Silence::kTick);
    }
    return socket_->sendTo(to, packet.data(), packet.size(), false);
}

void OpenDhtNode::look_for_silence_after(Duration pause) {
    silence_look_at_ = clock_.now() + pause;
    silence_look_.expires_after(std::chrono::ceil<std::chrono::steady_clock::duration>(pause));
    silence_look_.async_wait([weak = weak_from_this()](const std::error_code& error) {
        if (const auto self = weak.lock(); self && !error && !self->closed_) self->look_for_silence();
    });
}

void OpenDhtNode::look_for_silence() {
    silence_look_at_ = TimePoint::never();
    const Silence::Actions actions = silence_.look(clock_.now());
    for (const auto& [address, packet] : actions.send_again)
        socket_->sendTo(address, packet.data(), packet.size(), false);
    for (const auto& address : actions.ping) dht_->pingNode(address);
    if (!actions.ping.empty()) step_soon();
    if (actions.look_again_after > Duration(0)) look_for_silence_after(actions.look_again_after);
}

void OpenDhtNode::step(const std::uint8_t* data, std::size_t size, const ::dht::SockAddr& from) {
    if (closed_) return;
    ::dht::time_point next = ::dht::time_point::max();
    try {
        next = dht_->periodic(data, size, from, ::dht::clock::now());
        if (closed_) return;
        if (size > 0) greet(from);
        dht_->updateStatus(AF_INET);
        dht_->updateStatus(AF_INET6);
    } catch (const std::exception& error) {
        log_.warning(std::string("directory: OpenDHT failed: ") + error.what());
        next = ::dht::clock::now() + std::chrono::seconds(1);
    }
    if (next == ::dht::time_point::max()) return;
    wake_up_.expires_at(next);
    wake_up_.async_wait([weak = weak_from_this()](const std::error_code& error) {
        if (const auto self = weak.lock(); self && !error) self->step(nullptr, 0, {});
    });
}

/// OpenDHT trusts a node only once it has answered us, and would ask a newcomer only after a second or more.
void OpenDhtNode::greet(const ::dht::SockAddr& from) {
    if (greeted_.size() >= kMaximumGreeted) greeted_.clear();
    if (!greeted_.insert(from).second) return;
    dht_->pingNode(from);
    step_soon();
}

void OpenDhtNode::step_soon() {
    if (std::exchange(step_is_posted_, true)) return;
    asio::post(executor_, [weak = weak_from_this()] {
        const auto self = weak.lock();
        if (!self) return;
        self->step_is_posted_ = false;
        self->step(nullptr, 0, {});
    });
}

}  // namespace shoal::dht
