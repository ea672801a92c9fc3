// One node of OpenDHT that runs on our own thread and stores nothing but our records. Internal to dht/.
//
// We use OpenDHT's ::dht::Dht itself and not its DhtRunner: that would add two threads, hold operations back
// while it connects, and let through to the store whatever carries an RSA signature of anybody.
//
// How a record becomes an OpenDHT value: in two ways at once.
//   the record   lies under its key, and has one value id as long as its name lives, so that it is edited in
//                place; get() finds it. Its type lives longer than any record, the exact expiry is inside the
//                record.
//   the push     is the same under a key and an id of its own, and lives for seconds; listeners are told of
//   it.
// OpenDHT 2.4 tells a listener at another node of a value id only once, never of its later edits (its
// ValueCache does not look at them); and where somebody listens, or did a minute ago, it answers a get() from
// the same cache. So nobody ever listens where records lie. Node and reader check the record inside;
// OpenDHT's own signatures are not used.
#pragma once

#include <array>
#include <asio/any_io_executor.hpp>
#include <asio/steady_timer.hpp>
#include <memory>
#include <opendht/dht.h>
#include <optional>
#include <set>
#include <string>

#include "shoal/base/clock.h"
#include "shoal/base/log.h"
#include "shoal/dht/record_store.h"
#include "shoal/dht/silence.h"
#include "shoal/dht/udp_socket.h"

namespace shoal::dht {

struct OpenDhtSettings;

using RefusalCounts = std::array<std::uint64_t, 8>;  // by RecordFault

::dht::InfoHash to_info_hash(const KeyHash& key);
/// Where a value of this type lies.
::dht::InfoHash place_of(const KeyHash& key, ::dht::ValueType::Id type);

/// The two types of values that are stored.
inline constexpr ::dht::ValueType::Id kRecordType = 0x5301;
inline constexpr ::dht::ValueType::Id kPushType = 0x5302;
/// Also the difference of clocks beyond which watchers are not told at once: OpenDHT counts it off this. Must
/// be longer than its REANNOUNCE_MARGIN of 10 s, or it announces such a value without pause.
inline constexpr std::chrono::seconds kPushLife{15};

std::shared_ptr<::dht::Value> to_value(const KeyHash& key, const SignedRecord& record,
                                       ::dht::ValueType::Id type);

/// Thread: the one of the executor. Callbacks of OpenDHT may come inside any call.
class OpenDhtNode : public std::enable_shared_from_this<OpenDhtNode> {
  public:
    OpenDhtNode(asio::any_io_executor executor, Clock& clock, const OpenDhtSettings& settings, Log log);
    /// To be called once, after construction.
    void start();
    /// No callback comes after this.
    void close();
    bool closed() const { return closed_; }

    using Done = std::function<void(bool ok)>;
    using Found = std::function<void(const SignedRecord&)>;
    /// Stores the record at the nodes that are closest to the key.
    void put(const KeyHash& key, const SignedRecord& record, Done done);
    /// Lets those that listen know of it.
    void push(const KeyHash& key, const SignedRecord& record);
    /// Stores any value under a key that is as OpenDHT has them. For tests of what others refuse.
    void put_value(const ::dht::InfoHash& place, std::shared_ptr<::dht::Value> value, Done done);
    /// Calls `found` with checked records, the same or older ones included.
    void get(const KeyHash& key, Found found, Done done);
    /// Calls `found` with checked records that are pushed from now on or were shortly before, some of them
    /// twice. (Without a query: with one, OpenDHT 2.4 loses most of the updates from other nodes.)
    std::size_t listen(const KeyHash& key, Found found);
    void cancel_listen(const KeyHash& key, std::size_t token);
    void ping(const asio::ip::udp::endpoint& endpoint, Done done);

    /// Other nodes that have answered lately.
    std::size_t good_nodes() const;
    std::vector<::dht::InfoHash> known_nodes() const;
    /// Addresses under which others see us.
    std::vector<std::string> observed_addresses();

    RecordStore& store() { return store_; }
    const UdpSocket& socket() const { return *socket_; }
    const RefusalCounts& refused() const { return refused_; }
    /// Datagrams that were no messages of OpenDHT (see packet.h).
    std::uint64_t refused_packets() const { return refused_packets_; }

  private:
    void register_types(bool refuse_foreign_types);
    bool admit(const ::dht::InfoHash& place, const ::dht::Value& value);
    RecordFault admit_record(const ::dht::InfoHash& place, const ::dht::Value& value);
    std::optional<SignedRecord> check(const KeyHash& key, const ::dht::Value& value);
    int send_packet(const ::dht::SockAddr& to, ByteView packet);
    void look_for_silence();
    void look_for_silence_after(Duration pause);
    void take_packet(const std::uint8_t* data, std::size_t size, const ::dht::SockAddr& from);
    /// Lets OpenDHT do what is due, now or soon.
    void step(const std::uint8_t* data, std::size_t size, const ::dht::SockAddr& from);
    void step_soon();
    void greet(const ::dht::SockAddr& from);

    asio::any_io_executor executor_;
    Clock& clock_;
    Log log_;
    RecordStore store_;
    RefusalCounts refused_{};
    std::uint64_t refused_packets_ = 0;
    std::shared_ptr<UdpSocket> socket_;
    std::unique_ptr<::dht::Dht> dht_;
    asio::steady_timer wake_up_;
    Silence silence_;
    asio::steady_timer silence_look_;
    TimePoint silence_look_at_ = TimePoint::never();
    std::set<::dht::SockAddr> greeted_;  // nodes that we have asked for a sign of life
    bool step_is_posted_ = false;
    bool closed_ = false;
};

}  // namespace shoal::dht
