#include "shoal/collective/progress.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "shoal/collective/group_progress.h"
#include "shoal/collective/progress_book.h"
#include "shoal/collective/progress_links.h"
#include "shoal/collective/progress_publishing.h"
#include "shoal/collective/record_pace.h"
#include "shoal/collective/report_pace.h"

namespace shoal::collective {

using namespace std::chrono_literals;

void PerformanceEma::update(Samples samples, double seconds) {
    if (value(samples) <= 0 || !(seconds >= 0)) return;
    average_ = alpha_ * (seconds / static_cast<double>(value(samples))) + (1 - alpha_) * average_;
    remaining_ *= 1 - alpha_;
}

double PerformanceEma::samples_per_second() const {
    if (remaining_ >= 1) return 0;
    return std::min(1 / std::max(average_ / (1 - remaining_), 1e-20), kMaximumSamplesPerSecond);
}

namespace {

constexpr Duration kGoodbye = std::chrono::milliseconds(400);  // all that a goodbye may take

/// The tracker proper. Its tasks share its ownership; ProgressTrackerHandle, which the caller holds, ends
/// them.
class TrackerCore : public std::enable_shared_from_this<TrackerCore> {
  public:
    TrackerCore(net::Network& network, dht::Directory& directory, Clock& clock, ProgressSettings settings,
                Log log)
        : network_(network),
          directory_(directory),
          clock_(clock),
          settings_(std::move(settings)),
          log_(std::move(log)),
          name_(settings_.run + "/progress"),
          book(network.self(), settings_),
          changed(network.executor()),
          links_(std::make_shared<ProgressLinks>(network, clock, name_, log_)),
          dirty_(network.executor()),
          due_(network.executor()),
          tasks_(network.executor()) {}

    void start() {
        if (watching_) return;
        auto weak = weak_from_this();
        network_.serve(name_, [weak](net::StreamPointer stream) { return listen(weak, std::move(stream)); });
        observing_ = network_.observe([weak](const PeerId& peer, bool connected, const std::string&) {
            const auto self = weak.lock();
            // Whoever loses its connection counts no longer, until it (or a new connection to it) speaks
            // again.
            if (!self || connected) return;
            self->forget(peer);
            const auto inbox = self->inboxes_.find(peer);
            if (inbox != self->inboxes_.end() && !inbox->second.waiting) self->inboxes_.erase(inbox);
        });
        watching_ = directory_.watch(name_, [weak](const dht::Record& record) {
            if (const auto self = weak.lock()) self->on_record(record);
        });
        links_->start();
        tasks_.spawn(report_for_ever(shared_from_this()));
        tasks_.spawn(publish_for_ever(shared_from_this()));
        tasks_.spawn(sweep_for_ever(shared_from_this()));
    }

    void report(Progress own) {
        if (stopped_) return;  // it would take the place of the goodbye that is on its way
        own.time = clock_.wall_now();
        const bool news = words_.empty() || is_news(book.own(), own);
        book.set_own(std::move(own), clock_.now());
        if (news || book.batch_is_full()) {
            say();
            unpublished_ = unpublished_ || news;  // samples alone do not hurry: who needs them is connected
            dirty_.notify();
        } else {
            unsaid_ = true;
            due_.notify();
        }
        changed.notify();
    }

    awaitable<void> stop([[maybe_unused]] std::shared_ptr<TrackerCore> self) {
        if (stopped_) co_return;
        end();
        // Who leaves in the middle of a round may have taken part in it.
        ProgressRecord record;
        record.sequence = numbers_.next(clock_.wall_now());
        record.goodbye = true;
        record.progress.step = book.own().waiting ? next(book.own().step) : book.own().step;
        const Bytes words = encode_progress(record);
        // Whoever leaves does not wait for those who do not answer: they will notice by themselves.
        const TimePoint deadline = clock_.now() + kGoodbye;
        TaskGroup goodbyes(network_.executor());
        goodbyes.spawn(links_->say_goodbye(words, deadline));
        if (!words_.empty()) goodbyes.spawn(say_goodbye_in_directory(words, deadline));
        co_await goodbyes.join();
    }

    awaitable<void> say_goodbye_in_directory(Bytes words, TimePoint deadline) {
        try {
            awaitable<void> publishing =
                directory_.publish(name_, "", std::move(words), settings_.time_to_live);
            co_await with_deadline(clock_, deadline, std::move(publishing),
                                   "saying goodbye in the directory");
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            log_.debug(std::string("no goodbye in the directory: ") + error.what());
        }
    }

    /// Takes nothing in and publishes nothing from now on.
    void end() {
        if (stopped_) return;
        stopped_ = true;
        network_.serve(name_, {});
        observing_.reset();
        watching_.reset();
        tasks_.cancel();
    }

    void abandon() {
        end();
        links_->cancel();
    }

    void forget(const PeerId& peer) {
        if (book.forget(peer)) changed.notify();
    }

    void doubt(const PeerId& peer, Duration how_long) {
        book.doubt(peer, clock_.now() + how_long);
        book.set_own(book.own(), clock_.now());  // judges anew
        changed.notify();
    }

    bool doubts(const PeerId& peer) const { return book.doubts(peer, clock_.now()); }
    Vouchers vouchers(const StateClaim& state) const { return book.vouchers(state, clock_.now()); }
    std::optional<StateClaim> named_by_most(Step step) const {
        return book.named_by_most(step, clock_.now());
    }

    double plausible_weight(const PeerId& peer, Step step) const {
        return book.plausible_weight(peer, step, clock_.now());
    }
    void keep_score(Step step, std::span<const PeerId> members) {
        book.keep_score(step, members, clock_.now());
    }
    double trust(const PeerId& peer) const { return book.trust(peer, clock_.now()); }

    std::vector<ExpectedPeer> expected(Step step) const {
        const bool client = book.own().role == Role::client;
        const auto unreachable = [&](const Progress& peer) {
            return client && peer.role == Role::client && !network_.is_connected(peer.peer);
        };
        return book.expected(step, clock_.now(), unreachable);
    }

  private:
    /// Tells everybody what this peer has reported last.
    void say() {
        ProgressRecord record;
        record.progress = book.own();
        record.sequence = numbers_.next(clock_.wall_now());
        words_ = encode_progress(record);
        links_->say(words_);
        unsaid_ = false;
        said_at_ = clock_.now();
    }

    awaitable<void> until_due() {
        for (;;) {
            const TimePoint due = said_at_ + silence_between_reports(book.view().eta);
            if (unsaid_ && clock_.now() >= due) co_return;
            awaitable<void> news = due_.wait();
            if (unsaid_)
                co_await detail::ends_in_time(clock_, due, std::move(news));
            else
                co_await std::move(news);
        }
    }

    awaitable<void> report_for_ever([[maybe_unused]] std::shared_ptr<TrackerCore> self) {
        for (;;) {
            co_await until_due();
            say();
        }
    }

    static awaitable<void> listen(std::weak_ptr<TrackerCore> weak, net::StreamPointer stream) {
        for (;;) {
            std::optional<net::Message> message = co_await stream->read();
            const auto self = weak.lock();
            if (!message || !self || self->stopped_) co_return;
            self->hear(stream->peer(), std::move(message->control));
        }
    }

    /// Looks at what a peer says, or keeps it until it is this peer's turn again; only the newest is kept.
    void hear(const PeerId& peer, Bytes words) {
        Inbox& inbox = inboxes_[peer];
        const bool later = inbox.waiting || !inbox.pace.may_look(clock_.now());
        if (!later) return look(peer, words);
        if (words.size() > dht::kMaximumValueBytes) return look(peer, words);  // which refuses it
        if (!inbox.waiting) tasks_.spawn(look_later(shared_from_this(), peer));
        inbox.waiting = std::move(words);
    }

    void look(const PeerId& peer, ByteView words) {
        take(decode_progress(words, peer), ProgressBook::Source::connection, settings_.time_to_live);
    }

    static awaitable<void> look_later(std::shared_ptr<TrackerCore> self, PeerId peer) {
        co_await self->clock_.sleep_until(self->inboxes_.at(peer).pace.next_look());
        Inbox& inbox = self->inboxes_.at(peer);
        inbox.pace.may_look(self->clock_.now());
        const Bytes words = *std::exchange(inbox.waiting, std::nullopt);
        try {
            self->look(peer, words);
        } catch (const Error& error) {
            self->log_.debug(error.what());
        }
    }

    void on_record(const dht::Record& record) {
        if (stopped_ || record.owner == network_.self()) return;
        if (record.value.empty()) {
            // A peer that is connected would have said goodbye here; this is an old goodbye of its former
            // life.
            if (!network_.is_connected(record.owner) && book.depart(record.owner)) changed.notify();
            return;
        }
        try {
            const Duration alive_for = record.expires - clock_.wall_now();
            take(decode_progress(record.value, record.owner), ProgressBook::Source::directory, alive_for);
        } catch (const Error& error) {
            log_.debug(error.what());
        }
    }

    void take(const ProgressRecord& record, ProgressBook::Source source, Duration alive_for) {
        const PeerId& peer = record.progress.peer;
        if (!book.accept(record, source, alive_for, clock_.now())) return;
        if (record.goodbye) {
            links_->no_longer_want(peer);
        } else {
            links_->want(peer);
        }
        dirty_.notify();  // the sweeper may have to get up earlier
        due_.notify();    // and the batch may be full sooner
        changed.notify();
    }

    awaitable<void> until_unpublished() {
        while (!unpublished_) co_await dirty_.wait();
    }

    awaitable<void> publish_for_ever([[maybe_unused]] std::shared_ptr<TrackerCore> self) {
        for (;;) {
            awaitable<void> news = until_unpublished();
            const bool is_news = co_await detail::ends_in_time(
                clock_, clock_.now() + settings_.time_to_live / 3, std::move(news));
            if (words_.empty()) continue;
            if (!is_news) links_->repeat();
            unpublished_ = false;
            const bool published = co_await publish_progress(directory_, clock_, log_, name_, words_,
                                                             settings_.time_to_live, clock_.now() + 10s);
            if (!published) unpublished_ = true;
            co_await clock_.sleep_for(settings_.report_interval);
        }
    }

    awaitable<void> sweep_for_ever([[maybe_unused]] std::shared_ptr<TrackerCore> self) {
        for (;;) {
            // Whatever is taken in later lives for a time to live at most, so half of one is often enough.
            const TimePoint latest = clock_.now() + settings_.time_to_live / 2;
            co_await clock_.sleep_until(std::min(book.next_expiry(), latest));
            if (book.sweep(clock_.now())) changed.notify();
        }
    }

    net::Network& network_;
    dht::Directory& directory_;
    Clock& clock_;
    ProgressSettings settings_;
    Log log_;
    std::string name_;  ///< of the key and of the service

  public:
    ProgressBook book;
    Signal changed;

  private:
    struct Inbox {
        RecordPace pace;
        std::optional<Bytes> waiting;  ///< the newest words, which a look_later() will look at
    };
    std::shared_ptr<ProgressLinks> links_;
    std::map<PeerId, Inbox> inboxes_;  ///< of connected peers
    Bytes words_;                      ///< our newest record; empty before the first report
    RecordNumbers numbers_;
    TimePoint said_at_;
    bool unsaid_ = false;  ///< what this peer has reported since
    bool unpublished_ = false, stopped_ = false;
    Signal dirty_, due_;
    std::shared_ptr<void> observing_, watching_;
    TaskGroup tasks_;
};

class TrackerHandle final : public ProgressTracker {
  public:
    explicit TrackerHandle(std::shared_ptr<TrackerCore> core) : core_(std::move(core)) {}
    ~TrackerHandle() override { core_->abandon(); }

    awaitable<void> start() override {
        core_->start();
        co_return;
    }
    awaitable<void> stop() override { return core_->stop(core_); }
    void report(Progress own) override { core_->report(std::move(own)); }
    void set_companions(std::vector<PeerId> members) override {
        core_->book.set_companions(std::move(members));
    }
    SwarmView view() const override { return core_->book.view(); }
    std::vector<Progress> peers() const override { return core_->book.peers(); }
    std::vector<ExpectedPeer> expected(Step step) const override { return core_->expected(step); }
    bool has_left(const PeerId& peer, Step step) const override { return core_->book.has_left(peer, step); }
    void forget(const PeerId& peer) override { core_->forget(peer); }
    void doubt(const PeerId& peer, Duration how_long) override { core_->doubt(peer, how_long); }
    bool doubts(const PeerId& peer) const override { return core_->doubts(peer); }
    Vouchers vouchers(const StateClaim& state) const override { return core_->vouchers(state); }
    std::optional<StateClaim> named_by_most(Step step) const override { return core_->named_by_most(step); }
    double plausible_weight(const PeerId& peer, Step step) const override {
        return core_->plausible_weight(peer, step);
    }
    void keep_score(Step step, std::span<const PeerId> members) override { core_->keep_score(step, members); }
    double trust(const PeerId& peer) const override { return core_->trust(peer); }
    bool batch_is_full() const override { return core_->book.batch_is_full(); }
    Signal& changed() override { return core_->changed; }

  private:
    std::shared_ptr<TrackerCore> core_;
};

}  // namespace

std::function<double(const PeerId&, Step)> plausible_weight_by(std::weak_ptr<ProgressTracker> tracker) {
    return [tracker = std::move(tracker)](const PeerId& peer, Step step) {
        const auto alive = tracker.lock();
        return alive ? alive->plausible_weight(peer, step) : std::numeric_limits<double>::infinity();
    };
}

std::shared_ptr<ProgressTracker> make_progress_tracker(net::Network& network, dht::Directory& directory,
                                                       Clock& clock, ProgressSettings settings, Log log) {
    if (settings.run.empty()) throw Error(ErrorKind::invalid_argument, "a run needs a name");
    if (value(settings.target_batch_size) <= 0)
        throw Error(ErrorKind::invalid_argument, "the target batch size must be positive");
    if (settings.group_size > 0)
        return make_group_progress_tracker(network, directory, clock, std::move(settings), std::move(log));
    return std::make_shared<TrackerHandle>(
        std::make_shared<TrackerCore>(network, directory, clock, std::move(settings), std::move(log)));
}

}  // namespace shoal::collective
