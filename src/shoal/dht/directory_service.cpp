#include "shoal/dht/directory_service.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <shoal/proto/dht.pb.h>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/dht/remote_directory.h"
#include "shoal/net/rpc.h"

namespace shoal::dht {

namespace {

using Name = std::pair<PublicKey, std::string>;

/// What a client has used up of what it may.
struct Client {
    std::map<std::pair<KeyHash, std::string>, WallTime> records;  // until when each lives
    std::size_t watches = 0;
    double calls = 0;  // that it may make now
    TimePoint counted_at;
};

KeyHash read_key(const std::string& bytes) {
    const auto key = KeyHash::from_bytes(as_bytes(bytes));
    if (!key) throw Error(ErrorKind::refused, "the hash of a key has 20 bytes");
    return *key;
}

class Service : public std::enable_shared_from_this<Service> {
  public:
    Service(std::shared_ptr<net::Network> network, Clock& clock, std::shared_ptr<SignedDirectory> directory,
            std::function<std::size_t()> neighbours, ServiceLimits limits)
        : network_(std::move(network)),
          clock_(clock),
          directory_(std::move(directory)),
          neighbours_(std::move(neighbours)),
          limits_(limits) {}

    void start() {
        const auto weak = weak_from_this();
        auto publishing = [weak](PeerId caller, net::Message request) {
            return publish(required(weak), caller, std::move(request));
        };
        auto reading = [weak](PeerId caller, net::Message request) {
            return read(required(weak), caller, std::move(request));
        };
        auto watching = [weak](net::StreamPointer stream) { return watch(required(weak), stream); };
        constexpr auto everybody = net::Audience::everybody;  // records prove themselves, whoever brings them
        net::serve_calls(*network_, clock_, kPublishService, std::move(publishing), everybody);
        net::serve_calls(*network_, clock_, kReadService, std::move(reading), everybody);
        network_->serve(kWatchService, std::move(watching), everybody);
    }

    void stop() {
        for (const char* service : {kPublishService, kReadService})
            net::serve_calls(*network_, clock_, service, {});
        network_->serve(kWatchService, {});
    }

  private:
    static std::shared_ptr<Service> required(const std::weak_ptr<Service>& weak) {
        if (auto self = weak.lock()) return self;
        throw Error(ErrorKind::refused, "the directory is lent no more");
    }

    /// The client's account, after one more call. Throws if it makes too many.
    Client& charge(const PeerId& peer) {
        for (int i = 0; i < kLookedAtEachCall && !clients_.empty(); ++i) forget_if_idle();
        const TimePoint now = clock_.now();
        auto [entry, is_new] = clients_.try_emplace(peer);
        Client& client = entry->second;
        const double gained = seconds(now - client.counted_at) * limits_.calls_per_second;
        client.calls =
            is_new ? limits_.calls_at_once : std::min(limits_.calls_at_once, client.calls + gained);
        client.counted_at = now;
        if (client.calls < 1)
            throw Error(ErrorKind::refused, "too many calls of the directory in a short time");
        client.calls -= 1;
        return client;
    }

    /// Looks at the next client, in a circle. One that has nothing here, and could begin with a full account,
    /// goes.
    void forget_if_idle() {
        auto next = clients_.upper_bound(looked_at_);
        if (next == clients_.end()) next = clients_.begin();
        looked_at_ = next->first;
        Client& client = next->second;
        forget_expired(client);
        const Duration full = from_seconds(limits_.calls_at_once / limits_.calls_per_second);
        const bool idle = clock_.now() - client.counted_at > full;
        if (client.records.empty() && client.watches == 0 && idle) clients_.erase(next);
    }

    void forget_expired(Client& client) {
        const WallTime wall = clock_.wall_now();
        std::erase_if(client.records, [wall](const auto& record) { return record.second <= wall; });
    }

    static awaitable<net::Message> publish(std::shared_ptr<Service> self, PeerId caller,
                                           net::Message message) {
        Client& client = self->charge(caller);
        const auto request = net::parse_control<proto::PublishRequest>(message, caller);
        const KeyHash key = read_key(request.key());
        RecordFault fault = RecordFault::none;
        auto record = open_record(as_bytes(request.record()), key, self->clock_.wall_now(), fault);
        if (!record) throw Error(ErrorKind::refused, fmt::format("the record is {}", to_string(fault)));
        if (record->owner_id() != caller)
            throw Error(ErrorKind::refused, "a peer publishes records of its own only");
        const auto name = std::make_pair(key, record->subkey);
        if (client.records.size() >= self->limits_.records_per_client) self->forget_expired(client);
        if (!client.records.contains(name) && client.records.size() >= self->limits_.records_per_client)
            throw Error(ErrorKind::refused,
                        fmt::format("one peer may have {} records here", self->limits_.records_per_client));
        WallTime& until = client.records[name];
        until = std::max(until, record->expires);
        co_await self->directory_->publish_signed(key, std::move(*record));
        co_return net::Message();
    }

    static awaitable<net::Message> read(std::shared_ptr<Service> self, PeerId caller, net::Message message) {
        self->charge(caller);
        const auto request = net::parse_control<proto::ReadRequest>(message, caller);
        proto::ReadAnswer answer;
        answer.set_neighbours(static_cast<std::uint32_t>(self->neighbours_()));
        if (!request.key().empty()) {
            const auto records = co_await self->directory_->read_signed(read_key(request.key()));
            for (const SignedRecord& record : records) {
                if (answer.records_size() == kMaximumRecordsInAnswer) break;
                const Bytes bytes = encode_record(record);
                answer.add_records(bytes.data(), bytes.size());
            }
        }
        co_return net::Message(net::to_control(answer));
    }

    /// What a watching client has still to be told: of each name only the newest.
    struct Outbox {
        explicit Outbox(const asio::any_io_executor& executor) : changed(executor) {}
        std::map<Name, SignedRecord> records;
        Signal changed;
    };

    struct CountedWatch {
        CountedWatch(std::shared_ptr<Service> s, const PeerId& p) : service(std::move(s)), peer(p) {
            Client& client = service->charge(peer);
            if (client.watches >= service->limits_.watches_per_client ||
                service->watches_ >= service->limits_.watches)
                throw Error(ErrorKind::refused, "too many watches of the directory");
            ++client.watches;
            ++service->watches_;
        }
        ~CountedWatch() {
            --service->clients_.at(peer).watches;
            --service->watches_;
        }
        CountedWatch(const CountedWatch&) = delete;
        CountedWatch& operator=(const CountedWatch&) = delete;
        std::shared_ptr<Service> service;
        PeerId peer;
    };

    static awaitable<void> watch(std::shared_ptr<Service> self, net::StreamPointer stream) {
        CountedWatch counted(self, stream->peer());
        awaitable<std::optional<net::Message>> reading = stream->read();
        const TimePoint deadline = self->clock_.now() + kRequestTimeout;
        const std::optional<net::Message> message =
            co_await with_deadline(self->clock_, deadline, std::move(reading), "waiting for a WatchRequest");
        if (!message) co_return;
        const auto request = net::parse_control<proto::WatchRequest>(*message, stream->peer());
        const KeyHash key = read_key(request.key());
        co_await stream->write(ByteView(), ByteView());  // taken on
        auto outbox = std::make_shared<Outbox>(self->network_->executor());
        SignedWatcher watcher = [outbox](const SignedRecord& record) {
            outbox->records.insert_or_assign({record.owner, record.subkey}, record);
            outbox->changed.notify();
        };
        const auto token = self->directory_->watch_signed(key, std::move(watcher));
        TaskGroup tasks(self->network_->executor());
        tasks.spawn(send_records(stream, outbox));
        tasks.spawn(until_ended(stream, tasks));
        co_await tasks.settle();
        stream->finish();
    }

    static awaitable<void> send_records(net::StreamPointer stream, std::shared_ptr<Outbox> outbox) {
        for (;;) {
            while (outbox->records.empty()) co_await outbox->changed.wait();
            const Bytes bytes = encode_record(outbox->records.begin()->second);
            outbox->records.erase(outbox->records.begin());
            co_await stream->write(bytes, ByteView());
        }
    }

    /// The client writes nothing more; that it finishes, or is lost, ends the watch.
    static awaitable<void> until_ended(net::StreamPointer stream, TaskGroup& tasks) {
        try {
            co_await stream->read();
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
        }
        tasks.cancel();
    }

    /// A call adds one client at most, so this suffices for all to be looked at again and again, and a call
    /// costs the same however many there are.
    static constexpr int kLookedAtEachCall = 2;
    static constexpr Duration kRequestTimeout = std::chrono::seconds(30);

    std::shared_ptr<net::Network> network_;
    Clock& clock_;
    std::shared_ptr<SignedDirectory> directory_;
    std::function<std::size_t()> neighbours_;
    ServiceLimits limits_;
    std::map<PeerId, Client> clients_;
    PeerId looked_at_;  // last, by forget_if_idle()
    std::size_t watches_ = 0;
};

}  // namespace

std::shared_ptr<void> serve_directory(std::shared_ptr<net::Network> network, Clock& clock,
                                      std::shared_ptr<SignedDirectory> directory,
                                      std::function<std::size_t()> neighbours, ServiceLimits limits) {
    auto service = std::make_shared<Service>(std::move(network), clock, std::move(directory),
                                             std::move(neighbours), limits);
    service->start();
    const auto token = std::shared_ptr<void>(service.get(), [service](void*) { service->stop(); });
    return token;
}

}  // namespace shoal::dht
