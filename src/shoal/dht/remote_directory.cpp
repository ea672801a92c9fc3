#include "shoal/dht/remote_directory.h"

#include <algorithm>
#include <list>
#include <map>
#include <shoal/proto/dht.pb.h>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/dht/server_choice.h"
#include "shoal/net/rpc.h"

namespace shoal::dht {

namespace {

using Name = std::pair<PublicKey, std::string>;

constexpr Duration kOperationTimeout = std::chrono::seconds(10);
constexpr Duration kWatchAgain = std::chrono::seconds(2);

std::string text_of(ByteView bytes) {
    return std::string(as_text(bytes));
}

/// A watch that the server has acknowledged.
awaitable<net::StreamPointer> open_watch(std::shared_ptr<net::Network> network, PeerId server, KeyHash key) {
    proto::WatchRequest request;
    request.set_key(text_of(key.bytes));
    const Bytes control = net::to_control(request);
    net::StreamPointer stream = co_await network->open(server, kWatchService);
    co_await stream->write(control, ByteView());
    const std::optional<net::Message> message = co_await stream->read();
    if (!message || !message->control.empty())
        throw Error(ErrorKind::protocol_violation, "did not acknowledge a watch", server.short_name());
    co_return stream;
}

class Implementation final : public RemoteDirectory, public std::enable_shared_from_this<Implementation> {
  public:
    Implementation(std::shared_ptr<net::Network> network, Clock& clock, std::shared_ptr<const Signer> signer,
                   bool serves, Log log)
        : RemoteDirectory(std::move(signer), clock),
          network_(std::move(network)),
          choice_(std::make_shared<ServerChoice>(network_, clock, serves, std::move(log))),
          tasks_(network_->executor()) {}
    ~Implementation() override { shut_down(); }

    void start() {
        choice_->start();
        tasks_.spawn(bring_records(weak_from_this(), choice_, clock()));
    }

    awaitable<void> publish_signed(KeyHash key, SignedRecord record) override;
    awaitable<std::vector<SignedRecord>> read_signed(KeyHash key) override;
    std::shared_ptr<void> watch_signed(KeyHash key, SignedWatcher watcher) override;
    std::optional<PeerId> server() const override { return choice_->server(); }
    void shut_down() override {
        choice_->stop();
        tasks_.cancel();
    }

  private:
    struct Announced {
        SignedRecord record;
        std::optional<PeerId> stored_at;
    };
    /// All watchers of one key share one stream.
    struct Watched {
        Watched(const asio::any_io_executor& executor) : task(executor) {}
        RecordStore seen;
        std::list<std::weak_ptr<SignedWatcher>> watchers;
        TaskGroup task;
    };
    /// A call that ends early when the directory is shut down.
    struct Pending {
        explicit Pending(const asio::any_io_executor& executor) : ended(executor) {}
        std::optional<net::Message> answer;
        std::exception_ptr error;
        Signal ended;
    };

    struct Answer {
        net::Message message;
        PeerId from;
    };
    /// Whether an answer can be read.
    using Check = bool (*)(const net::Message&);
    awaitable<Answer> ask(const char* service, Bytes request, TimePoint deadline, Check check);
    awaitable<net::Message> ask_checked(PeerId server, const char* service, Bytes request, TimePoint deadline,
                                        Check check);
    awaitable<net::Message> ask_one(PeerId server, const char* service, Bytes request, TimePoint deadline);
    static awaitable<void> run_call(std::shared_ptr<Implementation> self, std::shared_ptr<Pending> pending,
                                    PeerId server, const char* service, Bytes request, TimePoint deadline);
    awaitable<void> store(KeyHash key, Name name, TimePoint deadline);
    static awaitable<void> bring_records(std::weak_ptr<Implementation> weak,
                                         std::shared_ptr<ServerChoice> choice, Clock& clock);
    awaitable<void> bring_to(PeerId server);
    static awaitable<void> keep_watching(std::weak_ptr<Implementation> weak, KeyHash key,
                                         std::shared_ptr<net::Network> network,
                                         std::shared_ptr<ServerChoice> choice, Clock& clock);
    static awaitable<void> read_watch(std::weak_ptr<Implementation> weak, KeyHash key,
                                      std::shared_ptr<net::Network> network, Clock& clock, PeerId server,
                                      TaskGroup& tasks);
    static awaitable<void> until_elsewhere(std::shared_ptr<ServerChoice> choice, PeerId server,
                                           TaskGroup& tasks);
    static awaitable<void> leave_if_another_serves(std::shared_ptr<net::Network> network,
                                                   std::shared_ptr<ServerChoice> choice, Clock& clock,
                                                   KeyHash key, PeerId server);
    void on_bytes(const KeyHash& key, ByteView bytes);
    void deliver(const std::weak_ptr<SignedWatcher>& watcher, const SignedRecord& record);
    void require_open() const {
        if (choice_->stopped()) throw Error(ErrorKind::cancelled, "the directory has been shut down");
    }

    std::shared_ptr<net::Network> network_;
    std::shared_ptr<ServerChoice> choice_;
    std::map<std::pair<KeyHash, Name>, Announced> announced_;
    std::map<KeyHash, std::shared_ptr<Watched>> watched_;
    TaskGroup tasks_;
};

// --- calls ---

/// Asks the server, and the next one if it fails. What a server refuses is asked of another one, too: only if
/// that refuses it as well, the fault is ours. Else the first is left.
awaitable<Implementation::Answer> Implementation::ask(const char* service, Bytes request, TimePoint deadline,
                                                      Check check) {
    std::optional<PeerId> refused_by;
    std::exception_ptr refusal;
    for (;;) {
        require_open();
        std::optional<PeerId> server = choice_->server();
        if (refused_by) server = co_await choice_->another(*refused_by);
        if (!server && refused_by) std::rethrow_exception(refusal);
        if (!server) {
            awaitable<void> waiting = choice_->changed().wait();
            co_await with_deadline(clock(), deadline, std::move(waiting),
                                   "waiting for a connected peer that lends its directory");
            continue;
        }
        try {
            const TimePoint patience = std::min(deadline, clock().now() + kServerTimeout);
            Answer answer;
            answer.from = *server;
            answer.message = co_await ask_checked(*server, service, request, patience, check);
            if (refused_by) choice_->reject(*refused_by);
            co_return answer;
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            const bool refused = error.kind() == ErrorKind::refused;
            if (clock().now() >= deadline || (refused && refused_by)) throw;
            if (refused) {
                refused_by = server;
                refusal = std::current_exception();
            } else {
                choice_->reject(*server);
            }
        }
    }
}

awaitable<net::Message> Implementation::ask_checked(PeerId server, const char* service, Bytes request,
                                                    TimePoint deadline, Check check) {
    net::Message message = co_await ask_one(server, service, std::move(request), deadline);
    if (!check(message))
        throw Error(ErrorKind::protocol_violation, "sent a malformed answer", server.short_name());
    co_return message;
}

awaitable<net::Message> Implementation::ask_one(PeerId server, const char* service, Bytes request,
                                                TimePoint deadline) {
    auto pending = std::make_shared<Pending>(network_->executor());
    tasks_.spawn(run_call(shared_from_this(), pending, server, service, std::move(request), deadline));
    while (!pending->answer && !pending->error) co_await pending->ended.wait();
    if (pending->error) std::rethrow_exception(pending->error);
    co_return std::move(*pending->answer);
}

awaitable<void> Implementation::run_call(std::shared_ptr<Implementation> self,
                                         std::shared_ptr<Pending> pending, PeerId server, const char* service,
                                         Bytes request, TimePoint deadline) {
    try {
        net::Message message(std::move(request));
        pending->answer =
            co_await net::call(*self->network_, self->clock(), server, service, std::move(message), deadline);
    } catch (...) {
        pending->error = std::current_exception();
        if (is_cancellation(pending->error))
            pending->error =
                std::make_exception_ptr(Error(ErrorKind::cancelled, "the directory has been shut down"));
    }
    pending->ended.notify();
}

// --- publish ---

awaitable<void> Implementation::publish_signed(KeyHash key, SignedRecord record) {
    require_open();
    const auto self = shared_from_this();
    const WallTime now = clock().wall_now();
    std::erase_if(announced_, [now](const auto& entry) { return entry.second.record.expires <= now; });
    const Name name{record.owner, record.subkey};
    Announced& announced = announced_[{key, name}];
    if (announced.record.sequence > record.sequence)
        throw Error(ErrorKind::refused, "the directory does not take the record: stale");
    announced.record = std::move(record);
    announced.stored_at.reset();
    if (!choice_->server()) co_return;  // it is brought to the first that appears
    co_await store(key, name, clock().now() + kOperationTimeout);
}

awaitable<void> Implementation::store(KeyHash key, Name name, TimePoint deadline) {
    const auto found = announced_.find({key, name});
    if (found == announced_.end()) co_return;
    const SignedRecord record = found->second.record;
    proto::PublishRequest request;
    request.set_key(text_of(key.bytes));
    request.set_record(text_of(encode_record(record)));
    const Check any = [](const net::Message&) { return true; };
    const Answer answer = co_await ask(kPublishService, net::to_control(request), deadline, any);
    const auto now = announced_.find({key, name});
    if (now != announced_.end() && now->second.record == record) now->second.stored_at = answer.from;
}

/// Whatever we have published is brought to each new server: the last one may have been lost with it.
awaitable<void> Implementation::bring_records(std::weak_ptr<Implementation> weak,
                                              std::shared_ptr<ServerChoice> choice, Clock& clock) {
    for (;;) {
        while (!choice->server() && !choice->stopped()) co_await choice->changed().wait();
        if (choice->stopped()) co_return;
        const PeerId server = *choice->server();
        if (const auto self = weak.lock())
            co_await self->bring_to(server);
        else
            co_return;
        const TimePoint later = clock.now() + kOperationTimeout;
        while (choice->server() == server && clock.now() < later) {
            awaitable<void> changing = choice->changed().wait();
            co_await detail::ends_in_time(clock, later, std::move(changing));
        }
    }
}

awaitable<void> Implementation::bring_to(PeerId server) {
    const WallTime now = clock().wall_now();
    std::erase_if(announced_, [now](const auto& entry) { return entry.second.record.expires <= now; });
    std::vector<std::pair<KeyHash, Name>> missing;
    for (const auto& [place, announced] : announced_)
        if (announced.stored_at != server) missing.push_back(place);
    for (const auto& [key, name] : missing) {
        try {
            co_await store(key, name, clock().now() + kOperationTimeout);
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            // Refused, or nobody is there any more: tried again with the next round.
        }
    }
}

// --- read and watch ---

awaitable<std::vector<SignedRecord>> Implementation::read_signed(KeyHash key) {
    require_open();
    const auto self = shared_from_this();
    RecordStore found;
    const WallTime now = clock().wall_now();
    if (choice_->server()) {
        proto::ReadRequest request;
        request.set_key(text_of(key.bytes));
        const TimePoint deadline = clock().now() + kOperationTimeout;
        const Check readable = [](const net::Message& message) {
            const auto size = static_cast<int>(message.control.size());
            return proto::ReadAnswer().ParseFromArray(message.control.data(), size);
        };
        const Answer answer = co_await ask(kReadService, net::to_control(request), deadline, readable);
        const auto read = net::parse_control<proto::ReadAnswer>(answer.message, answer.from);
        for (const std::string& bytes : read.records()) {
            RecordFault fault = RecordFault::none;
            if (const auto record = open_record(as_bytes(bytes), key, now, fault))
                found.offer(key, *record, now);
        }
    }
    // What we know better than the server.
    for (const auto& [place, announced] : announced_)
        if (place.first == key) found.offer(key, announced.record, now);
    if (const auto watched = watched_.find(key); watched != watched_.end())
        for (const SignedRecord& record : watched->second->seen.read(key, now)) found.offer(key, record, now);
    co_return found.read(key, clock().wall_now());
}

std::shared_ptr<void> Implementation::watch_signed(KeyHash key, SignedWatcher watcher) {
    require_open();
    auto end = [weak = weak_from_this(), key](SignedWatcher* pointer) {
        delete pointer;
        const auto self = weak.lock();
        if (!self) return;
        const auto found = self->watched_.find(key);
        if (found == self->watched_.end()) return;
        found->second->watchers.remove_if([](const auto& one) { return one.expired(); });
        if (found->second->watchers.empty()) self->watched_.erase(found);
    };
    std::shared_ptr<SignedWatcher> token(new SignedWatcher(std::move(watcher)), std::move(end));
    std::shared_ptr<Watched>& watched = watched_[key];
    if (!watched) {
        watched = std::make_shared<Watched>(network_->executor());
        watched->task.spawn(keep_watching(weak_from_this(), key, network_, choice_, clock()));
    }
    watched->watchers.push_back(token);
    for (const SignedRecord& record : watched->seen.read(key, clock().wall_now())) deliver(token, record);
    return token;
}

awaitable<void> Implementation::keep_watching(std::weak_ptr<Implementation> weak, KeyHash key,
                                              std::shared_ptr<net::Network> network,
                                              std::shared_ptr<ServerChoice> choice, Clock& clock) {
    for (;;) {
        while (!choice->server() && !choice->stopped()) co_await choice->changed().wait();
        if (choice->stopped()) co_return;
        const PeerId server = *choice->server();
        {
            TaskGroup tasks(network->executor());
            tasks.spawn(read_watch(weak, key, network, clock, server, tasks));
            tasks.spawn(until_elsewhere(choice, server, tasks));
            co_await tasks.settle();
        }
        // The next server tells everything from the beginning, so nothing is missed by the change.
        if (choice->server() == server) co_await leave_if_another_serves(network, choice, clock, key, server);
        if (choice->server() == server) co_await clock.sleep_for(kWatchAgain);
    }
}

/// One watch at one server, until it ends there.
awaitable<void> Implementation::read_watch(std::weak_ptr<Implementation> weak, KeyHash key,
                                           std::shared_ptr<net::Network> network, Clock& clock, PeerId server,
                                           TaskGroup& tasks) {
    try {
        const TimePoint patience = clock.now() + kServerTimeout;
        awaitable<net::StreamPointer> opening = open_watch(network, server, key);
        const net::StreamPointer stream =
            co_await with_deadline(clock, patience, std::move(opening), "waiting for a watch to begin");
        for (;;) {
            const std::optional<net::Message> message = co_await stream->read();
            const auto self = weak.lock();
            if (!message || !self) break;
            self->on_bytes(key, message->control);
        }
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
    }
    tasks.cancel();
}

awaitable<void> Implementation::until_elsewhere(std::shared_ptr<ServerChoice> choice, PeerId server,
                                                TaskGroup& tasks) {
    while (choice->server() == server) co_await choice->changed().wait();
    tasks.cancel();
}

/// The server has refused or ended a watch, or does not begin it. If another one serves it, the server is
/// left, and everything moves; else it may be that we watch too much.
awaitable<void> Implementation::leave_if_another_serves(std::shared_ptr<net::Network> network,
                                                        std::shared_ptr<ServerChoice> choice, Clock& clock,
                                                        KeyHash key, PeerId server) {
    const std::optional<PeerId> other = co_await choice->another(server);
    if (!other) co_return;
    try {
        const TimePoint patience = clock.now() + kServerTimeout;
        awaitable<net::StreamPointer> opening = open_watch(network, *other, key);
        co_await with_deadline(clock, patience, std::move(opening), "waiting for a watch to begin");
        choice->reject(server);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
    }
}

void Implementation::on_bytes(const KeyHash& key, ByteView bytes) {
    const auto found = watched_.find(key);
    if (found == watched_.end()) return;
    const std::shared_ptr<Watched> watched = found->second;
    const WallTime now = clock().wall_now();
    RecordFault fault = RecordFault::none;
    const auto record = open_record(bytes, key, now, fault);
    if (!record || !watched->seen.offer(key, *record, now).changed) return;
    for (const auto& watcher : watched->watchers) deliver(watcher, *record);
}

void Implementation::deliver(const std::weak_ptr<SignedWatcher>& weak, const SignedRecord& record) {
    asio::post(network_->executor(), [weak, record] {
        if (const auto watcher = weak.lock()) (*watcher)(record);
    });
}

}  // namespace

std::shared_ptr<RemoteDirectory> make_remote_directory(std::shared_ptr<net::Network> network, Clock& clock,
                                                       std::shared_ptr<const Signer> signer, bool serves,
                                                       Log log) {
    auto directory = std::make_shared<Implementation>(std::move(network), clock, std::move(signer), serves,
                                                      std::move(log));
    directory->start();
    return directory;
}

}  // namespace shoal::dht
