#include "shoal/dht/opendht_directory.h"

#include <algorithm>
#include <asio/ip/udp.hpp>
#include <asio/post.hpp>
#include <fmt/format.h>
#include <list>
#include <set>

#include "shoal/base/async.h"
#include "shoal/dht/bootstrap.h"
#include "shoal/dht/opendht_node.h"
#include "shoal/dht/operation.h"

namespace shoal::dht {

namespace {

using asio::ip::udp;
using Name = std::pair<PublicKey, std::string>;

constexpr Duration kMaintenanceInterval = std::chrono::seconds(1);
constexpr std::chrono::seconds kPushAgain{20};  // lost pushes are made good after this; longer than kPushLife
static_assert(kPushAgain > kPushLife);
constexpr std::size_t kReplicas = 8;  // OpenDHT stores a value at this many nodes

class Implementation final : public OpenDhtDirectory, public std::enable_shared_from_this<Implementation> {
  public:
    Implementation(asio::any_io_executor executor, Clock& clock, std::shared_ptr<const Signer> signer,
                   OpenDhtSettings settings, Log log)
        : OpenDhtDirectory(std::move(signer), clock),
          executor_(std::move(executor)),
          settings_(std::move(settings)),
          log_(std::move(log)),
          node_(std::make_shared<OpenDhtNode>(executor_, clock, settings_, log_)),
          bootstrap_(std::make_shared<Bootstrap>(executor_, clock, node_, log_)),
          tasks_(executor_) {}
    ~Implementation() override { shut_down(); }

    void start() {
        node_->start();
        tasks_.spawn(maintain(weak_from_this(), clock()));
        for (const net::Endpoint& endpoint : settings_.bootstrap) bootstrap_->add(endpoint);
    }

    awaitable<void> publish_signed(KeyHash key, SignedRecord record) override;
    awaitable<std::vector<SignedRecord>> read_signed(KeyHash key) override;
    std::shared_ptr<void> watch_signed(KeyHash key, SignedWatcher watcher) override;
    std::uint16_t port() const override { return node_->socket().port(); }
    DirectoryStatus status() const override;
    std::size_t neighbours() const override { return node_->good_nodes(); }
    void add_bootstrap(net::Endpoint endpoint) override { bootstrap_->add(std::move(endpoint)); }
    void learn(net::Endpoint endpoint) override;
    void shut_down() override;

  private:
    /// A record that we announce until it expires.
    struct Announced {
        SignedRecord record;
        WallTime refresh_at{};
        WallTime push_at{};
    };
    /// All watchers of one key share one listener of OpenDHT.
    struct Watched {
        std::size_t token = 0;
        RecordStore seen;
        std::list<std::weak_ptr<SignedWatcher>> watchers;
    };
    using WatchedPointer = std::shared_ptr<Watched>;

    std::shared_ptr<Operation> start_put(const KeyHash& key, const SignedRecord& record);
    void announce_again(const KeyHash& key, Announced& announced);
    void push_again(const KeyHash& key, Announced& announced);
    void maintain_once();
    void tend_newcomers(const std::vector<::dht::InfoHash>& nodes);
    void look_up(const KeyHash& key, const std::weak_ptr<Watched>& watched);
    void on_record(const KeyHash& key, const std::weak_ptr<Watched>& weak, const SignedRecord& record);
    void deliver(const std::weak_ptr<SignedWatcher>& watcher, const SignedRecord& record);
    void end_watch(const KeyHash& key);
    static awaitable<void> maintain(std::weak_ptr<Implementation> weak, Clock& clock);
    void require_open() const {
        if (node_->closed()) throw Error(ErrorKind::cancelled, "the directory has been shut down");
    }

    asio::any_io_executor executor_;
    OpenDhtSettings settings_;
    Log log_;
    std::shared_ptr<OpenDhtNode> node_;
    std::map<std::pair<KeyHash, Name>, Announced> announced_;
    std::map<KeyHash, WatchedPointer> watched_;
    std::set<std::weak_ptr<Operation>, std::owner_less<>> operations_;
    std::shared_ptr<Bootstrap> bootstrap_;
    std::set<::dht::InfoHash> nodes_seen_;
    TaskGroup tasks_;
};

// --- publish ---

std::shared_ptr<Operation> Implementation::start_put(const KeyHash& key, const SignedRecord& record) {
    auto operation = std::make_shared<Operation>(executor_);
    operations_.insert(operation);
    node_->put(key, record, [operation](bool ok) { operation->end(ok); });
    return operation;
}

awaitable<void> Implementation::publish_signed(KeyHash key, SignedRecord record) {
    require_open();
    const auto self = shared_from_this();
    const RecordFault fault = node_->store().offer(key, record, clock().wall_now()).fault;
    if (fault != RecordFault::none)
        throw Error(ErrorKind::refused,
                    fmt::format("the directory does not take the record: {}", to_string(fault)));
    const WallTime now = clock().wall_now();
    const Name name{record.owner, record.subkey};
    announced_[{key, name}] = Announced{record, now + (record.expires - now) / 2, now + kPushAgain};
    node_->push(key, record);
    const TimePoint deadline = clock().now() + settings_.operation_timeout;
    Duration pause = std::chrono::milliseconds(50);
    for (;;) {
        require_open();  // it may have been shut down during the pause
        const bool alone = node_->good_nodes() == 0;
        const std::shared_ptr<Operation> operation = start_put(key, record);
        if (alone) co_return;  // it is announced when others appear
        co_await with_deadline(clock(), deadline, wait_for(operation), "storing a record at other nodes");
        if (operation->ok) co_return;
        require_open();
        const auto newest = announced_.find({key, name});
        if (newest == announced_.end() || newest->second.record != record) co_return;  // replaced meanwhile
        const TimePoint again = std::min(deadline, clock().now() + pause);
        co_await clock().sleep_until(again);
        if (again == deadline) throw Error(ErrorKind::timed_out, "no other node has stored the record");
        pause *= 2;
    }
}

void Implementation::announce_again(const KeyHash& key, Announced& announced) {
    announced.refresh_at = announced.record.expires;
    start_put(key, announced.record);
}

void Implementation::push_again(const KeyHash& key, Announced& announced) {
    announced.push_at = clock().wall_now() + kPushAgain;
    node_->push(key, announced.record);
}

void Implementation::tend_newcomers(const std::vector<::dht::InfoHash>& nodes) {
    std::vector<::dht::InfoHash> newcomers;
    for (const auto& node : nodes)
        if (nodes_seen_.insert(node).second) newcomers.push_back(node);
    if (newcomers.empty()) return;
    // Only a newcomer that is among the closest to a place concerns what lies there.
    const auto concern = [&](const KeyHash& key, ::dht::ValueType::Id type) {
        const ::dht::InfoHash place = place_of(key, type);
        return std::any_of(newcomers.begin(), newcomers.end(), [&](const auto& newcomer) {
            const auto closer = std::count_if(nodes.begin(), nodes.end(), [&](const auto& node) {
                return place.xorCmp(node, newcomer) < 0;
            });
            return static_cast<std::size_t>(closer) < kReplicas;
        });
    };
    for (auto& [place, announced] : announced_) {
        if (concern(place.first, kRecordType)) announce_again(place.first, announced);
        if (concern(place.first, kPushType)) push_again(place.first, announced);
    }
    for (const auto& [key, watched] : watched_)
        if (concern(key, kRecordType)) look_up(key, watched);
}

void Implementation::maintain_once() {
    const WallTime now = clock().wall_now();
    node_->store().forget_expired(now);
    std::erase_if(announced_, [now](const auto& entry) { return entry.second.record.expires <= now; });
    std::erase_if(operations_, [](const auto& operation) { return operation.expired(); });
    for (const auto& [key, watched] : watched_) watched->seen.forget_expired(now);
    const std::vector<::dht::InfoHash> nodes = node_->known_nodes();
    std::erase_if(nodes_seen_, [&](const auto& seen) {
        return std::find(nodes.begin(), nodes.end(), seen) == nodes.end();
    });
    tend_newcomers(nodes);
    for (auto& [place, announced] : announced_) {
        if (announced.refresh_at <= now) announce_again(place.first, announced);
        if (announced.push_at <= now) push_again(place.first, announced);
    }
}

awaitable<void> Implementation::maintain(std::weak_ptr<Implementation> weak, Clock& clock) {
    // OpenDHT does not tell when it meets a node, so this has to look.
    for (;;) {
        co_await clock.sleep_for(kMaintenanceInterval);
        const auto self = weak.lock();
        if (!self || self->node_->closed()) co_return;
        self->maintain_once();
    }
}

// --- read and watch ---

awaitable<std::vector<SignedRecord>> Implementation::read_signed(KeyHash key) {
    require_open();
    const auto self = shared_from_this();
    auto operation = std::make_shared<Operation>(executor_);
    operations_.insert(operation);
    auto found = std::make_shared<RecordStore>();
    const WallTime now = clock().wall_now();
    node_->get(
        key, [found, key, now](const SignedRecord& record) { found->offer(key, record, now); },
        [operation](bool ok) { operation->end(ok); });
    const TimePoint deadline = clock().now() + settings_.operation_timeout;
    co_await with_deadline(clock(), deadline, wait_for(operation), "reading from the directory");
    require_open();
    // Some node may have an old version of what we know from a push or have stored ourselves.
    for (const SignedRecord& record : node_->store().read(key, now)) found->offer(key, record, now);
    if (const auto watched = watched_.find(key); watched != watched_.end())
        for (const SignedRecord& record : watched->second->seen.read(key, now))
            found->offer(key, record, now);
    co_return found->read(key, clock().wall_now());
}

std::shared_ptr<void> Implementation::watch_signed(KeyHash key, SignedWatcher watcher) {
    require_open();
    // The token: when the last copy goes, so does the watcher; OpenDHT is told a little later.
    auto end = [weak = weak_from_this(), key](SignedWatcher* pointer) {
        delete pointer;
        if (const auto self = weak.lock()) self->end_watch(key);
    };
    std::shared_ptr<SignedWatcher> token(new SignedWatcher(std::move(watcher)), std::move(end));
    WatchedPointer& watched = watched_[key];
    const bool first = !watched;
    if (first) watched = std::make_shared<Watched>();
    watched->watchers.push_back(token);
    for (const SignedRecord& record : watched->seen.read(key, clock().wall_now())) deliver(token, record);
    if (first) {
        const std::weak_ptr<Watched> weak_watched = watched;
        watched->token =
            node_->listen(key, [weak = weak_from_this(), key, weak_watched](const SignedRecord& record) {
                if (const auto self = weak.lock()) self->on_record(key, weak_watched, record);
            });
        look_up(key, watched);
    }
    return token;
}

/// Reads what is there already: pushes tell of changes only.
void Implementation::look_up(const KeyHash& key, const std::weak_ptr<Watched>& watched) {
    node_->get(
        key,
        [weak = weak_from_this(), key, watched](const SignedRecord& record) {
            if (const auto self = weak.lock()) self->on_record(key, watched, record);
        },
        [](bool) {});
}

void Implementation::on_record(const KeyHash& key, const std::weak_ptr<Watched>& weak,
                               const SignedRecord& record) {
    const WatchedPointer watched = weak.lock();
    if (!watched || !watched->seen.offer(key, record, clock().wall_now()).changed) return;
    for (const auto& watcher : watched->watchers) deliver(watcher, record);
}

void Implementation::deliver(const std::weak_ptr<SignedWatcher>& weak, const SignedRecord& record) {
    // Posted: the watcher may call us back, and OpenDHT must not be entered from within itself.
    asio::post(executor_, [weak, record] {
        if (const auto watcher = weak.lock()) (*watcher)(record);
    });
}

void Implementation::end_watch(const KeyHash& key) {
    asio::post(executor_, [weak = weak_from_this(), key] {
        const auto self = weak.lock();
        if (!self) return;
        const auto found = self->watched_.find(key);
        if (found == self->watched_.end()) return;
        found->second->watchers.remove_if([](const auto& watcher) { return watcher.expired(); });
        if (!found->second->watchers.empty()) return;
        self->node_->cancel_listen(key, found->second->token);
        self->watched_.erase(found);
    });
}

void Implementation::learn(net::Endpoint endpoint) {
    std::error_code error;
    const asio::ip::address address = asio::ip::make_address(endpoint.host, error);
    if (error || node_->closed()) return;
    const udp::endpoint target(address, endpoint.port);
    if (!node_->socket().is_bound_to(target)) node_->ping(target, [](bool) {});
}

// --- status and end ---

DirectoryStatus Implementation::status() const {
    DirectoryStatus status;
    status.port = port();
    status.nodes = node_->good_nodes();
    status.stored_records = node_->store().size();
    status.own_records = announced_.size();
    status.refused_packets = node_->refused_packets();
    const RefusalCounts& refused = node_->refused();
    for (std::size_t fault = 1; fault < refused.size(); ++fault)
        if (refused[fault] > 0)
            status.refused[std::string(to_string(static_cast<RecordFault>(fault)))] = refused[fault];
    status.bootstrap = bootstrap_->status();
    for (const std::string& address : node_->observed_addresses()) {
        try {
            status.observed.push_back(net::Endpoint::parse(address));
        } catch (const Error&) {
        }
    }
    return status;
}

void Implementation::shut_down() {
    if (node_->closed()) return;
    node_->close();
    bootstrap_->stop();
    tasks_.cancel();
    for (const auto& weak : operations_)
        if (const auto operation = weak.lock(); operation && !operation->over) operation->end(false);
}

}  // namespace

std::shared_ptr<OpenDhtDirectory> make_opendht_directory(asio::any_io_executor executor, Clock& clock,
                                                         std::shared_ptr<const Signer> signer,
                                                         OpenDhtSettings settings, Log log) {
    auto directory = std::make_shared<Implementation>(std::move(executor), clock, std::move(signer),
                                                      std::move(settings), std::move(log));
    directory->start();
    return directory;
}

}  // namespace shoal::dht
