#include "shoal/dht/fallback_directory.h"

#include <algorithm>
#include <list>
#include <map>

#include "shoal/base/async.h"
#include "shoal/base/error.h"

namespace shoal::dht {

namespace {

using Name = std::pair<PublicKey, std::string>;

constexpr Duration kLook = std::chrono::milliseconds(500);  // at neighbours and server: neither is pushed

class Implementation final : public FallbackDirectory, public std::enable_shared_from_this<Implementation> {
  public:
    Implementation(asio::any_io_executor executor, Clock& clock, FallbackParts parts, Log log)
        : FallbackDirectory(parts.signer, clock),
          parts_(std::move(parts)),
          log_(std::move(log)),
          tasks_(executor) {}
    ~Implementation() override { shut_down(); }

    void start() { tasks_.spawn(keep_choosing(weak_from_this(), clock())); }

    awaitable<void> publish_signed(KeyHash key, SignedRecord record) override;
    awaitable<std::vector<SignedRecord>> read_signed(KeyHash key) override;
    std::shared_ptr<void> watch_signed(KeyHash key, SignedWatcher watcher) override;
    std::optional<PeerId> through() const override {
        return through_peer_ ? parts_.remote->server() : std::nullopt;
    }
    void shut_down() override {
        tasks_.cancel();
        parts_.remote->shut_down();
    }

  private:
    struct Watch {
        KeyHash key;
        SignedWatcher watcher;
        RecordStore seen;
        std::shared_ptr<void> token;  // of the directory in use
    };

    SignedDirectory& current() {
        return through_peer_ ? static_cast<SignedDirectory&>(*parts_.remote) : *parts_.own;
    }
    static awaitable<void> keep_choosing(std::weak_ptr<Implementation> weak, Clock& clock);
    void choose();
    void change(bool through_peer);
    void attach(const std::shared_ptr<Watch>& watch);
    static awaitable<void> bring(std::shared_ptr<Implementation> self);

    FallbackParts parts_;
    Log log_;
    bool through_peer_ = false;
    std::optional<TimePoint> deaf_since_;
    std::map<std::pair<KeyHash, Name>, SignedRecord> published_;
    std::list<std::weak_ptr<Watch>> watches_;
    TaskGroup tasks_;
};

awaitable<void> Implementation::publish_signed(KeyHash key, SignedRecord record) {
    const auto self = shared_from_this();
    const WallTime now = clock().wall_now();
    std::erase_if(published_, [now](const auto& entry) { return entry.second.expires <= now; });
    const Name name{record.owner, record.subkey};
    published_.insert_or_assign({key, name}, record);
    std::exception_ptr failure;
    try {
        co_await parts_.own->publish_signed(key, record);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled || !through_peer_) throw;
        failure = std::current_exception();
    }
    if (failure) log_.debug("directory: over UDP: " + describe(failure));
    if (through_peer_) co_await parts_.remote->publish_signed(key, std::move(record));
}

awaitable<std::vector<SignedRecord>> Implementation::read_signed(KeyHash key) {
    const auto self = shared_from_this();
    std::vector<SignedRecord> found;
    std::exception_ptr failure;
    try {
        found = co_await parts_.own->read_signed(key);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled || !through_peer_) throw;
        failure = std::current_exception();
    }
    if (failure) log_.debug("directory: over UDP: " + describe(failure));
    if (!through_peer_) co_return found;
    std::vector<SignedRecord> more = co_await parts_.remote->read_signed(key);
    RecordStore newest;
    const WallTime now = clock().wall_now();
    for (const std::vector<SignedRecord>* part : {&found, &more})
        for (const SignedRecord& record : *part) newest.offer(key, record, now);
    co_return newest.read(key, now);
}

std::shared_ptr<void> Implementation::watch_signed(KeyHash key, SignedWatcher watcher) {
    auto watch = std::make_shared<Watch>();
    watch->key = key;
    watch->watcher = std::move(watcher);
    attach(watch);
    watches_.remove_if([](const auto& one) { return one.expired(); });
    watches_.push_back(watch);
    return watch;
}

void Implementation::attach(const std::shared_ptr<Watch>& watch) {
    SignedWatcher on_record = [weak = std::weak_ptr(watch), &clock = clock()](const SignedRecord& record) {
        const auto target = weak.lock();
        if (!target) return;
        target->seen.forget_expired(clock.wall_now());
        if (target->seen.offer(target->key, record, clock.wall_now()).changed) target->watcher(record);
    };
    watch->token = current().watch_signed(watch->key, std::move(on_record));
}

awaitable<void> Implementation::keep_choosing(std::weak_ptr<Implementation> weak, Clock& clock) {
    for (;;) {
        if (const auto self = weak.lock())
            self->choose();
        else
            co_return;
        co_await clock.sleep_for(kLook);
    }
}

void Implementation::choose() {
    const bool deaf = parts_.neighbours() == 0 && parts_.remote->server();
    if (!deaf) {
        deaf_since_.reset();
        if (through_peer_ && parts_.neighbours() > 0) change(false);
        return;
    }
    if (!deaf_since_) deaf_since_ = clock().now();
    if (!through_peer_ && clock().now() - *deaf_since_ >= kFallbackPatience) change(true);
}

void Implementation::change(bool through_peer) {
    through_peer_ = through_peer;
    if (through_peer)
        log_.warning("directory: nobody answers over UDP; it goes through peer " +
                     parts_.remote->server()->short_name() + " now. Does a firewall let UDP through?");
    else
        log_.info("directory: others answer over UDP; it needs no other peer any more");
    watches_.remove_if([](const auto& one) { return one.expired(); });
    for (const auto& weak : watches_)
        if (const auto watch = weak.lock()) attach(watch);
    if (through_peer) tasks_.spawn(bring(shared_from_this()));
}

/// What was published before the change; the own directory has it already.
awaitable<void> Implementation::bring(std::shared_ptr<Implementation> self) {
    const auto records = self->published_;
    for (const auto& [place, record] : records) {
        if (record.expires <= self->clock().wall_now()) continue;
        try {
            co_await self->parts_.remote->publish_signed(place.first, record);
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            self->log_.debug(std::string("directory: ") + error.what());
        }
    }
}

}  // namespace

std::shared_ptr<FallbackDirectory> make_fallback_directory(asio::any_io_executor executor, Clock& clock,
                                                           FallbackParts parts, Log log) {
    auto directory =
        std::make_shared<Implementation>(std::move(executor), clock, std::move(parts), std::move(log));
    directory->start();
    return directory;
}

}  // namespace shoal::dht
