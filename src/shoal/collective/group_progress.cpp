#include "shoal/collective/group_progress.h"

#include <algorithm>
#include <deque>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "shoal/collective/group_census.h"
#include "shoal/collective/group_partition.h"
#include "shoal/collective/progress_book.h"

namespace shoal::collective {

using namespace std::chrono_literals;

namespace {

constexpr Duration kGoodbye = 400ms;        // all that a goodbye may take
constexpr Duration kCensusAtStart = 500ms;  // between readings, until this peer trains
constexpr Duration kCensusInPeace = 10s;    // ... while all goes well
constexpr Duration kCensusInTrouble = 1s;   // ... while its rounds fail, or it is alone
constexpr Duration kFirstStep = 20s;        // for a peer that is on its way, before we know what a step takes
constexpr std::size_t kStepsConnected = 3;  // connections to members of older groups are given up,
constexpr std::size_t kConnectionsOfGroups = 4;  // ... if there are as many groups' worth of them

/// What is known of one step's group.
struct Group {
    Step step{};
    std::uint32_t groups = 1, index = 0;  ///< of how many in that step, and which it is
    std::string key;
    ProgressBook book;
    std::shared_ptr<void> watching;
    bool announced = false;
};

class GroupTracker final : public std::enable_shared_from_this<GroupTracker> {
  public:
    GroupTracker(net::Network& network, dht::Directory& directory, Clock& clock, ProgressSettings settings,
                 Log log)
        : network_(network),
          directory_(directory),
          clock_(clock),
          settings_(std::move(settings)),
          log_(std::move(log)),
          changed(network.executor()),
          census_(directory, clock, network.self(), settings_.run, log_),
          dirty_(network.executor()),
          asks_(network.executor()),
          tasks_(network.executor()) {
        own_.peer = network.self();
    }

    void start() {
        if (std::exchange(started_, true)) return;
        observing_ = network_.observe(
            [weak = weak_from_this()](const PeerId& peer, bool connected, const std::string&) {
                const auto self = weak.lock();
                if (self && !connected) self->forget(peer);
            });
        tasks_.spawn(publish_for_ever(shared_from_this()));
        tasks_.spawn(sweep_for_ever(shared_from_this()));
        tasks_.spawn(look_around_for_ever(shared_from_this()));
    }

    void report(Progress own) {
        if (stopped_) return;
        own.time = clock_.wall_now();
        own.peer = network_.self();
        digest_ = std::exchange(own.digest, Fingerprint());
        const bool moves = own.training && (!here_ || here_->step != own.step);
        const bool is_news = own.samples != own_.samples || own.attempt != own_.attempt ||
                             own.training != own_.training || own.step != own_.step;
        own_ = std::move(own);
        if (moves) enter(own_.step);
        own_.swarm_size = size_;
        if (here_) here_->book.set_own(own_, clock_.now());
        if (is_news && !moves) {
            unpublished_ = true;
            dirty_.notify();
        }
        if (own_.attempt > 0) ask_around();
        changed.notify();
    }

    awaitable<void> stop([[maybe_unused]] std::shared_ptr<GroupTracker> self) {
        if (stopped_) co_return;
        end();
        ProgressRecord record;
        record.sequence = numbers_.next(clock_.wall_now());
        record.goodbye = true;
        record.progress.step = own_.waiting ? next(own_.step) : own_.step;
        const Bytes words = encode_progress(record);
        const TimePoint deadline = clock_.now() + kGoodbye;
        TaskGroup goodbyes(network_.executor());
        if (here_) goodbyes.spawn(say(here_->key, words, deadline));
        if (coming_) goodbyes.spawn(say(coming_->key, words, deadline));
        if (census_.wants_us()) goodbyes.spawn(say(census_.own_key(), words, deadline));
        co_await goodbyes.join();
    }

    void end() {
        if (std::exchange(stopped_, true)) return;
        observing_.reset();
        if (here_) here_->watching.reset();
        if (coming_) coming_->watching.reset();
        tasks_.cancel();
    }

    void forget(const PeerId& peer) {
        bool known = false;
        for (Group* group : {here_.get(), coming_.get()})
            known = (group != nullptr && group->book.forget(peer)) || known;
        if (known) changed.notify();
    }

    void doubt(const PeerId& peer, Duration how_long) {
        doubted_[peer] = clock_.now() + how_long;
        changed.notify();
    }
    bool doubts(const PeerId& peer) const {
        const auto found = doubted_.find(peer);
        return found != doubted_.end() && found->second > clock_.now();
    }

    SwarmView view() const {
        SwarmView view;
        if (here_) view = here_->book.view();
        view.rival.reset();
        view.contradiction.reset();
        view.step = view.crowd = believed_step();
        view.digest = digest_;
        view.voters = 0;
        view.peers = static_cast<std::size_t>(size_);
        if (here_) return view;
        const auto& sample = census_.sample();
        view.training_peers = static_cast<std::size_t>(
            std::count_if(sample.begin(), sample.end(), [](const auto& one) { return one.second.training; }));
        return view;
    }

    std::vector<Progress> peers() const {
        // Both are in order; the group knows better than the sample.
        std::vector<Progress> group = here_ ? here_->book.peers() : std::vector<Progress>(1, own_);
        for (Progress& peer : group)
            if (peer.peer == own_.peer) peer = own_;
        std::vector<Progress> all;
        all.reserve(group.size() + census_.sample().size());
        auto next = group.begin();
        for (const auto& [peer, progress] : census_.sample()) {
            while (next != group.end() && next->peer < peer) all.push_back(std::move(*next++));
            const bool is_known = next != group.end() && next->peer == peer;
            if (!is_known && !doubts(peer)) all.push_back(progress);
        }
        std::move(next, group.end(), std::back_inserter(all));
        return all;
    }

    std::vector<ExpectedPeer> expected(Step step) {
        if (!here_ || here_->step != step) return {};
        const auto unreachable = [this](const Progress& peer) {
            return own_.role == Role::client && peer.role == Role::client &&
                   !network_.is_connected(peer.peer);
        };
        return here_->book.expected(step, clock_.now(), unreachable);
    }

    double plausible_weight(const PeerId& peer, Step step) const {
        for (const Group* group : {here_.get(), coming_.get()})
            if (group != nullptr && group->step == step)
                return group->book.plausible_weight(peer, step, clock_.now());
        return std::numeric_limits<double>::infinity();
    }
    void keep_score(Step step, std::span<const PeerId> members) {
        if (here_ && here_->step == step) here_->book.keep_score(step, members, clock_.now());
    }
    double trust(const PeerId& peer) const { return here_ ? here_->book.trust(peer, clock_.now()) : 1; }
    bool has_left(const PeerId& peer, Step step) const { return here_ && here_->book.has_left(peer, step); }
    bool batch_is_full() const { return here_ && here_->book.batch_is_full(); }

  private:
    /// Our own step, unless the sample is clearly ahead. Groups are a step apart now and then.
    Step believed_step() const {
        const Step swarm = census_.step();
        if (swarm <= own_.step) return own_.step;
        const bool is_clear = !own_.training || own_.attempt > 0 || swarm > next(own_.step);
        return is_clear ? swarm : own_.step;
    }

    /// Begins to work for a step: with the group that it has announced itself to, if it follows on the last.
    void enter(Step step) {
        if (here_ && next(here_->step) == step) {
            learn_size();
            const double took = seconds(clock_.now() - entered_at_);
            step_seconds_ = step_seconds_ > 0 ? 0.7 * step_seconds_ + 0.3 * took : took;
            remember_members();
        }
        entered_at_ = clock_.now();
        if (coming_ && coming_->step == step) {
            here_ = std::move(coming_);
        } else {
            if (!here_) size_ = std::max(size_, census_.size());
            here_ = begin(step);
        }
        coming_ = begin(next(step));
        here_->book.expect_the_coming(patience_with_the_coming());
        // Whoever was announced says no more before it has samples.
        if (!std::exchange(here_->announced, true)) tasks_.spawn(publish(shared_from_this(), here_->key));
        coming_->announced = true;
        tasks_.spawn(publish(shared_from_this(), coming_->key));
        if (census_.wants_us() && census_.has_been_read())
            tasks_.spawn(publish(shared_from_this(), census_.own_key()));
        unpublished_ = false;
        const bool is_thin = 4 * (here_->book.size() + 1) < settings_.group_size;
        if (is_thin && groups_ > 1) ask_around();
    }

    std::unique_ptr<Group> begin(Step step) {
        groups_ = number_of_groups(size_, settings_.group_size, groups_);
        auto group = std::make_unique<Group>(
            Group{step, groups_, group_of(own_.peer, step, groups_), {}, {own_.peer, settings_}, {}, false});
        group->key =
            settings_.run + "/group/" + std::to_string(value(step)) + "/" + std::to_string(group->index);
        Progress own = own_;
        own.step = step;
        own.samples = Samples{};
        group->book.set_own(std::move(own), clock_.now());
        group->watching = directory_.watch(group->key, [weak = weak_from_this(), step](const auto& record) {
            if (const auto self = weak.lock()) self->on_record(step, record);
        });
        return group;
    }

    Duration patience_with_the_coming() const {
        if (step_seconds_ == 0) return kFirstStep;
        return from_seconds(std::min(2 * step_seconds_ + 0.25, kLongestPromise));
    }

    void learn_size() {
        std::vector<double> claims;
        for (const Progress& peer : here_->book.peers())
            if (peer.peer != own_.peer) claims.push_back(peer.swarm_size);
        size_ = next_size_estimate(size_, claims, claims.size() + 1, here_->groups);
    }

    /// Gives up connections to those that this peer met some steps ago: thousands would add up.
    void remember_members() {
        std::set<PeerId> members;
        for (const Progress& peer : here_->book.peers()) members.insert(peer.peer);
        met_.push_back(std::move(members));
        if (met_.size() <= kStepsConnected) return;
        const std::set<PeerId> old = std::move(met_.front());
        met_.pop_front();
        if (network_.connections().size() <= kConnectionsOfGroups * settings_.group_size) return;
        for (const PeerId& peer : old) {
            const bool is_met = std::any_of(met_.begin(), met_.end(),
                                            [&peer](const auto& group) { return group.contains(peer); });
            const bool is_coming = coming_ && coming_->book.knows(peer);
            if (!is_met && !is_coming && network_.is_connected(peer))
                network_.disconnect(peer, "we are in other groups now");
        }
    }

    Samples part_of_the_batch(std::size_t members) const {
        const auto all = static_cast<double>(value(settings_.target_batch_size));
        const double part =
            all * static_cast<double>(members) / std::max(size_, static_cast<double>(members));
        return static_cast<Samples>(std::max<std::int64_t>(1, static_cast<std::int64_t>(part)));
    }

    void on_record(Step step, const dht::Record& record) {
        Group* group = here_ && here_->step == step       ? here_.get()
                       : coming_ && coming_->step == step ? coming_.get()
                                                          : nullptr;
        if (stopped_ || group == nullptr || record.owner == own_.peer) return;
        if (group_of(record.owner, step, group->groups) != group->index) return;  // it has no place here
        if (record.value.empty()) {
            if (!network_.is_connected(record.owner) && group->book.depart(record.owner)) changed.notify();
            return;
        }
        try {
            const ProgressRecord words = decode_progress(record.value, record.owner);
            const Step claimed = words.progress.step;
            if (!words.goodbye && claimed != step && next(claimed) != step) return;
            const std::size_t newly = group->book.knows(record.owner) || words.goodbye ? 0 : 1;
            group->book.set_target(part_of_the_batch(group->book.size() + 1 + newly));
            const Duration alive_for = record.expires - clock_.wall_now();
            if (!group->book.accept(words, ProgressBook::Source::directory, alive_for, clock_.now())) return;
        } catch (const Error& error) {
            log_.debug(error.what());
            return;
        }
        if (group == here_.get()) changed.notify();
    }

    awaitable<void> say(std::string key, Bytes words, TimePoint deadline) {
        try {
            awaitable<void> publishing =
                directory_.publish(std::move(key), "", std::move(words), settings_.time_to_live);
            co_await with_deadline(clock_, deadline, std::move(publishing), "publishing progress");
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            log_.debug(std::string("progress is not in the directory: ") + error.what());
        }
    }

    awaitable<void> publish([[maybe_unused]] std::shared_ptr<GroupTracker> self, std::string key) {
        ProgressRecord record;
        record.progress = own_;
        record.progress.swarm_size = size_;
        record.sequence = numbers_.next(clock_.wall_now());
        co_await say(std::move(key), encode_progress(record), clock_.now() + 10s);
    }

    awaitable<void> until_unpublished() {
        while (!unpublished_) co_await dirty_.wait();
    }

    awaitable<void> publish_for_ever(std::shared_ptr<GroupTracker> self) {
        for (;;) {
            awaitable<void> news = until_unpublished();
            const bool is_news = co_await detail::ends_in_time(
                clock_, clock_.now() + settings_.time_to_live / 3, std::move(news));
            unpublished_ = false;
            if (here_) co_await publish(self, here_->key);
            if (!is_news && coming_) co_await publish(self, coming_->key);
            const bool is_start = !own_.training && census_.has_been_read();
            if ((!is_news || is_start) && census_.wants_us()) co_await publish(self, census_.own_key());
            co_await clock_.sleep_for(settings_.report_interval);
        }
    }

    awaitable<void> sweep_for_ever([[maybe_unused]] std::shared_ptr<GroupTracker> self) {
        for (;;) {
            co_await clock_.sleep_for(settings_.time_to_live / 4);
            for (Group* group : {here_.get(), coming_.get()})
                if (group != nullptr && group->book.sweep(clock_.now())) changed.notify();
            std::erase_if(doubted_, [&](const auto& one) { return one.second <= clock_.now(); });
        }
    }

    void ask_around() {
        is_asking_ = true;
        asks_.notify();
    }

    awaitable<void> until_asked() {
        while (!is_asking_) co_await asks_.wait();
    }

    /// Reads the census: often at the start and in trouble, seldom else.
    awaitable<void> look_around_for_ever(std::shared_ptr<GroupTracker> self) {
        for (;;) {
            try {
                is_asking_ = false;
                co_await census_.read();
                take_census();
                if (!own_.training && census_.wants_us()) co_await publish(self, census_.own_key());
            } catch (const Error& error) {
                if (error.kind() == ErrorKind::cancelled) throw;
                log_.debug(std::string("the census could not be read: ") + error.what());
            }
            const Duration pause = own_.training ? kCensusInTrouble : kCensusAtStart;
            co_await clock_.sleep_for(pause);
            if (!own_.training) continue;
            awaitable<void> asked = until_asked();
            co_await detail::ends_in_time(clock_, clock_.now() + kCensusInPeace, std::move(asked));
        }
    }

    void take_census() {
        size_ = here_ ? (size_ + census_.size()) / 2 : census_.size();
        changed.notify();
    }

    net::Network& network_;
    dht::Directory& directory_;
    Clock& clock_;
    ProgressSettings settings_;
    Log log_;

  public:
    Signal changed;

  private:
    GroupCensus census_;
    Progress own_;
    Fingerprint digest_;
    std::unique_ptr<Group> here_, coming_;  ///< of the step that this peer works for, and of the next
    std::uint32_t groups_ = 0;
    double size_ = 1;
    TimePoint entered_at_;
    double step_seconds_ = 0;
    std::deque<std::set<PeerId>> met_;
    std::map<PeerId, TimePoint> doubted_;
    RecordNumbers numbers_;
    bool started_ = false, stopped_ = false, unpublished_ = false, is_asking_ = false;
    Signal dirty_, asks_;
    std::shared_ptr<void> observing_;
    TaskGroup tasks_;
};

class Handle final : public ProgressTracker {
  public:
    explicit Handle(std::shared_ptr<GroupTracker> core) : core_(std::move(core)) {}
    ~Handle() override { core_->end(); }

    awaitable<void> start() override {
        core_->start();
        co_return;
    }
    awaitable<void> stop() override { return core_->stop(core_); }
    void report(Progress own) override { core_->report(std::move(own)); }
    void set_companions(std::vector<PeerId>) override {}
    SwarmView view() const override { return core_->view(); }
    std::vector<Progress> peers() const override { return core_->peers(); }
    std::vector<ExpectedPeer> expected(Step step) const override { return core_->expected(step); }
    bool has_left(const PeerId& peer, Step step) const override { return core_->has_left(peer, step); }
    void forget(const PeerId& peer) override { core_->forget(peer); }
    void doubt(const PeerId& peer, Duration how_long) override { core_->doubt(peer, how_long); }
    bool doubts(const PeerId& peer) const override { return core_->doubts(peer); }
    Vouchers vouchers(const StateClaim&) const override { return {}; }
    std::optional<StateClaim> named_by_most(Step) const override { return std::nullopt; }
    double plausible_weight(const PeerId& peer, Step step) const override {
        return core_->plausible_weight(peer, step);
    }
    void keep_score(Step step, std::span<const PeerId> members) override { core_->keep_score(step, members); }
    double trust(const PeerId& peer) const override { return core_->trust(peer); }
    bool batch_is_full() const override { return core_->batch_is_full(); }
    Signal& changed() override { return core_->changed; }

  private:
    std::shared_ptr<GroupTracker> core_;
};

}  // namespace

std::shared_ptr<ProgressTracker> make_group_progress_tracker(net::Network& network, dht::Directory& directory,
                                                             Clock& clock, ProgressSettings settings,
                                                             Log log) {
    return std::make_shared<Handle>(
        std::make_shared<GroupTracker>(network, directory, clock, std::move(settings), std::move(log)));
}

}  // namespace shoal::collective
