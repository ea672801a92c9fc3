#include "shoal/collective/group_progress.h"

#include <algorithm>
#include <map>
#include <utility>

#include "shoal/collective/farewell.h"
#include "shoal/collective/group_connections.h"
#include "shoal/collective/group_measures.h"
#include "shoal/collective/group_partition.h"
#include "shoal/collective/group_scout.h"
#include "shoal/collective/progress_publishing.h"
#include "shoal/collective/report_pace.h"
#include "shoal/collective/step_group.h"

namespace shoal::collective {

using namespace std::chrono_literals;

namespace {

constexpr Duration kGoodbye = 400ms;    // all that a goodbye may take
constexpr Duration kListening = 500ms;  // until a peer may find that it is alone in a group
constexpr int kStepsAlone = 4;          // in a row, until a peer that is ahead of all asks itself why

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
          scout_(network, directory, clock, settings_, log_),
          connections_(network, settings_.group_size),
          farewell_(std::make_shared<Farewell>(network, clock, settings_.run, log_)),
          dirty_(network.executor()),
          tasks_(network.executor()) {
        own_.peer = network.self();
    }

    void start() {
        if (std::exchange(started_, true)) return;
        observing_ = network_.observe(
            [weak = weak_from_this()](const PeerId& peer, bool connected, const std::string&) {
                const auto self = weak.lock();
                if (!self || connected) return;
                self->farewell_->forget(peer);
                self->forget(peer);
            });
        farewell_->start([weak = weak_from_this()](const ProgressRecord& words) {
            const auto self = weak.lock();
            if (!self) return;
            for (StepGroup* group : {self->here_.get(), self->coming_.get()})
                if (group != nullptr && words.progress.step > group->step)
                    self->take(*group, words, self->settings_.time_to_live);
        });
        tasks_.spawn(publish_for_ever(shared_from_this()));
        tasks_.spawn(sweep_for_ever(shared_from_this()));
        tasks_.spawn(look_around_for_ever(shared_from_this()));
    }

    void report(Progress own) {
        if (stopped_) return;
        has_reported_ = true;
        own.time = clock_.wall_now();
        own.peer = network_.self();
        digest_ = std::exchange(own.digest, Fingerprint());
        const bool moves = own.training && (!here_ || here_->step != own.step);
        // Before its first samples the others know of this peer only that it is coming.
        const bool begins = here_ && value(own_.samples) == 0 && value(own.samples) > 0;
        const bool news = begins || is_news(own_, own);
        if (!moves && own.attempt != own_.attempt) members_.clear();  // that round was not averaged
        own_ = std::move(own);
        if (moves) enter(own_.step);
        own_.swarm_size = measures_.size();
        if (here_) here_->book.set_own(own_, clock_.now());
        if (!moves) {
            unsaid_ = true;
            unpublished_ = unpublished_ || news || batch_is_full();
            dirty_.notify();
        }
        changed.notify();
    }

    awaitable<void> stop(std::shared_ptr<GroupTracker> self) {
        if (stopped_) co_return;
        end();
        if (!has_reported_) co_return;
        ProgressRecord record = record_of_own();
        record.goodbye = true;
        record.progress.step = own_.waiting ? next(own_.step) : own_.step;
        const Bytes words = encode_progress(record);
        const TimePoint deadline = clock_.now() + kGoodbye;
        TaskGroup goodbyes(network_.executor());
        if (here_) goodbyes.spawn(say(self, here_->key, words, deadline));
        if (coming_) goodbyes.spawn(say(self, coming_->key, words, deadline));
        if (census().wants_us()) goodbyes.spawn(say(self, census().own_key(), words, deadline));
        co_await goodbyes.join();
    }

    void end() {
        if (std::exchange(stopped_, true)) return;
        farewell_->end();
        observing_.reset();
        if (here_) here_->watching.reset();
        if (coming_) coming_->watching.reset();
        tasks_.cancel();
    }

    void forget(const PeerId& peer) {
        bool known = false;
        for (StepGroup* group : {here_.get(), coming_.get()})
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
        view.peers = static_cast<std::size_t>(measures_.size());
        if (here_) return view;
        const auto& sample = census().sample();
        view.training_peers = static_cast<std::size_t>(
            std::count_if(sample.begin(), sample.end(), [](const auto& one) { return one.second.training; }));
        return view;
    }

    std::vector<Progress> peers() const {
        std::vector<Progress> group = here_ ? here_->book.peers() : std::vector<Progress>(1, own_);
        for (Progress& peer : group)
            if (peer.peer == own_.peer) peer = own_;
        return census().and_sample(std::move(group), [this](const PeerId& peer) { return doubts(peer); });
    }

    std::vector<ExpectedPeer> expected(Step step) {
        if (!here_ || here_->step != step) return {};
        const auto unreachable = [this](const Progress& peer) {
            return own_.role == Role::client && peer.role == Role::client &&
                   !network_.is_connected(peer.peer);
        };
        return here_->book.expected(step, clock_.now(), unreachable);
    }

    /// Nobody has worked for more than a group's part of the batch and a micro-batch. Peers that differ a
    /// little about the swarm's size must not refuse each other, so what this peer itself brings is less.
    double plausible_weight(const PeerId& peer, Step step) const {
        constexpr double kAtMost = 2, kOfOurOwn = 1.5;
        if (peer == own_.peer) return kOfOurOwn * whole_part();
        for (const StepGroup* group : {here_.get(), coming_.get()})
            if (group != nullptr && group->step == step)
                return std::min(kAtMost * whole_part(),
                                group->book.plausible_weight(peer, step, clock_.now()));
        return kAtMost * whole_part();
    }
    bool may_take_part(const PeerId& peer, Step step) const {
        return here_ && here_->step == step && here_->book.knows(peer);
    }
    void keep_score(Step step, std::span<const PeerId> members) {
        if (!here_ || here_->step != step) return;
        here_->book.keep_score(step, members, clock_.now());
        members_.assign(members.begin(), members.end());
    }
    double trust(const PeerId& peer) const { return promises_->trust(peer, clock_.now()); }
    Duration filled_by_quicker() const {
        if (!here_) return Duration::zero();
        const Duration others = here_->book.filled_by_quicker();
        const std::optional<Duration> longest = measures_.longest_batch();
        if (!longest) return others;
        return std::clamp(entered_at_ + *longest - clock_.now(), Duration::zero(), others);
    }
    void heard_of(Step step) {
        if (value(step) <= value(own_.step) + kFarthestGone) told_ = std::max(told_, step);
        changed.notify();
    }
    bool has_left(const PeerId& peer, Step step) const { return here_ && here_->book.has_left(peer, step); }
    /// A few quick ones that happen to be together do not run ahead of all others: they compute more instead.
    /// Slow ones do not stay behind: they compute less.
    bool batch_is_full() const {
        if (!here_) return false;
        const Duration worked = clock_.now() - entered_at_;
        const bool has_listened = clock_.now() >= here_->begun + kListening;
        if (here_->book.batch_is_full())
            return !is_thin() || (has_listened && worked >= measures_.batch_time());
        const std::optional<Duration> longest = measures_.longest_batch();
        return longest && worked >= *longest && value(here_->book.view().samples) > 0;
    }

  private:
    /// A newcomer looks where the census points. Who trains believes those with whom it averages: that they
    /// have gone on; that its next group is at work while nobody is left here; or what a search for a round
    /// has met. A single other peer moves it by one step for each micro-batch at most, as it may be a liar.
    Step believed_step() const {
        const auto in_doubt = [this](const PeerId& peer) { return doubts(peer); };
        if (!own_.training || !here_) return std::max(own_.step, census().step(in_doubt));
        if (const auto elsewhere = scout_.elsewhere(own_.step)) return *elsewhere;
        const bool has_worked = value(own_.samples) > 0;
        Step step = std::max({own_.step, told_, here_->gone_to(has_worked)});
        if (nobody_will_come() && coming_->is_at_work(has_worked)) step = std::max(step, coming_->step);
        return step;
    }

    bool is_thin() const {
        return measures_.is_thin(settings_, here_->others().size() + here_->gone.size() + 1);
    }

    /// Nobody is here or on the way, or all have had their time.
    bool nobody_will_come() const {
        if (here_->waited_for() == 0) return true;
        const std::optional<TimePoint> full = here_->book.full_since();
        return full && clock_.now() > *full + measures_.longest_wait() + kLongestSilence;
    }

    /// Begins to work for a step: with the group that it has announced itself to, if it follows on the last.
    void enter(Step step) {
        if (here_ && next(here_->step) == step) {
            measures_.learn_size(*here_, census().counted(),
                                 [this](const PeerId& peer) { return doubts(peer); });
            if (!is_thin() && !members_.empty())
                measures_.learn_pace(*here_, settings_.target_batch_size, entered_at_, clock_.now());
            connections_.met(here_->others(),
                             [this](const PeerId& peer) { return coming_ && coming_->book.knows(peer); });
            steps_alone_ = members_.size() == 1 ? steps_alone_ + 1 : 0;
        }
        told_ = Step{};
        entered_at_ = clock_.now();
        farewell_->tell_again(step, encode_progress(record_of_own()));
        if (here_) say_gone(*here_);
        if (coming_ && coming_->step == step) {
            here_ = std::move(coming_);
        } else {
            if (coming_) say_gone(*coming_);
            if (!here_) measures_.set_size(std::max(measures_.size(), census().size()));
            here_ = begin(step);
        }
        coming_ = begin(next(step));
        members_.clear();
        here_->book.begin_step(clock_.now());
        here_->book.share_batch(measures_.size(), clock_.now());
        here_->book.expect_the_coming(measures_.longest_wait());
        // Whoever was announced says no more before it has samples.
        const bool is_known = std::exchange(here_->announced, true);
        if (!is_known || value(own_.samples) > 0) tasks_.spawn(publish(shared_from_this(), here_->key));
        coming_->announced = true;
        tasks_.spawn(publish(shared_from_this(), coming_->key));
        if (census().wants_us() && census().has_been_read())
            tasks_.spawn(publish(shared_from_this(), census().own_key()));
        unpublished_ = unsaid_ = false;
        said_at_ = clock_.now();
        if (is_thin() && groups_ > 1) scout_.ask();
    }

    std::unique_ptr<StepGroup> begin(Step step) {
        groups_ = number_of_groups(measures_.size(), settings_.group_size, measures_.groups());
        auto group = std::make_unique<StepGroup>(step, groups_, own_.peer, settings_, promises_);
        group->begun = clock_.now();
        Progress own = own_;
        own.step = step;
        if (own.step != own_.step) own.samples = Samples{};
        group->book.set_own(std::move(own), clock_.now());
        group->book.share_batch(measures_.size(), clock_.now());
        group->book.expect_the_coming(measures_.longest_wait());
        group->watching = directory_.watch(group->key, [weak = weak_from_this(), step](const auto& record) {
            if (const auto self = weak.lock()) self->on_record(step, record);
        });
        return group;
    }

    /// Tells those that may wait for us in a group which this peer has left, and that were no members of its
    /// round there: over a connection, or else by the record that they watch.
    void say_gone(const StepGroup& left) {
        bool all_told = true;
        const Bytes words = encode_progress(record_of_own());
        for (const PeerId& peer : left.others()) {
            if (std::find(members_.begin(), members_.end(), peer) != members_.end()) continue;
            if (!farewell_->tell(peer, left.step, words)) all_told = false;
        }
        if (!all_told) tasks_.spawn(say(shared_from_this(), left.key, words, clock_.now() + 10s));
    }

    /// However many say that they are here: no more of them average together.
    double whole_part() const {
        constexpr std::size_t kLargest = 3;  // usual groups
        const std::size_t members = here_ ? here_->book.size() + 1 : 1;
        return measures_.part_of_the_batch(settings_, std::min(members, kLargest * settings_.group_size));
    }

    void on_record(Step step, const dht::Record& record) {
        StepGroup* group = here_ && here_->step == step       ? here_.get()
                           : coming_ && coming_->step == step ? coming_.get()
                                                              : nullptr;
        if (stopped_ || group == nullptr || record.owner == own_.peer) return;
        if (record.value.empty()) {
            if (!network_.is_connected(record.owner) && group->book.depart(record.owner)) changed.notify();
            return;
        }
        try {
            const ProgressRecord words = decode_progress(record.value, record.owner);
            take(*group, words, record.expires - clock_.wall_now());
        } catch (const Error& error) {
            log_.debug(error.what());
        }
    }

    void take(StepGroup& group, const ProgressRecord& words, Duration alive_for) {
        if (!group.has_place_for(words.progress.peer)) return;
        if (!group.take(words, alive_for, clock_.now())) return;
        dirty_.notify();  // the batch may be full sooner
        changed.notify();
    }

    awaitable<void> say([[maybe_unused]] std::shared_ptr<GroupTracker> self, std::string key, Bytes words,
                        TimePoint deadline) {
        co_await publish_progress(directory_, clock_, log_, std::move(key), std::move(words),
                                  settings_.time_to_live, deadline);
    }

    ProgressRecord record_of_own() {
        ProgressRecord record;
        record.progress = own_;
        record.progress.swarm_size = measures_.size();
        record.progress.groups = groups_;
        record.progress.batch_seconds = seconds(measures_.batch_time());
        record.sequence = numbers_.next(clock_.wall_now());
        return record;
    }

    awaitable<void> publish(std::shared_ptr<GroupTracker> self, std::string key) {
        const Bytes words = encode_progress(record_of_own());
        co_await say(std::move(self), std::move(key), words, clock_.now() + 10s);
    }

    /// News at once, more samples as soon as report_pace.h allows.
    awaitable<void> until_due() {
        while (!unpublished_) {
            const Duration eta = here_ ? here_->book.view().eta : Duration::zero();
            const TimePoint due = said_at_ + silence_between_reports(eta);
            if (unsaid_ && clock_.now() >= due) co_return;
            awaitable<void> news = dirty_.wait();
            if (unsaid_)
                co_await detail::ends_in_time(clock_, due, std::move(news));
            else
                co_await std::move(news);
        }
    }

    awaitable<void> publish_for_ever(std::shared_ptr<GroupTracker> self) {
        for (;;) {
            awaitable<void> due = until_due();
            const bool is_news = co_await detail::ends_in_time(
                clock_, clock_.now() + settings_.time_to_live / 3, std::move(due));
            unpublished_ = unsaid_ = false;
            said_at_ = clock_.now();
            if (here_) co_await publish(self, here_->key);
            if (!is_news && coming_) co_await publish(self, coming_->key);
            if (!has_reported_) continue;
            const bool is_start = !own_.training && census().has_been_read();
            if ((!is_news || is_start) && census().wants_us()) co_await publish(self, census().own_key());
            co_await clock_.sleep_for(settings_.report_interval);
        }
    }

    awaitable<void> sweep_for_ever([[maybe_unused]] std::shared_ptr<GroupTracker> self) {
        for (;;) {
            co_await clock_.sleep_for(settings_.time_to_live / 4);
            for (StepGroup* group : {here_.get(), coming_.get()})
                if (group != nullptr && group->book.sweep(clock_.now())) changed.notify();
            std::erase_if(doubted_, [&](const auto& one) { return one.second <= clock_.now(); });
            promises_->sweep(clock_.now());
        }
    }

    GroupScout::Questions questions() {
        GroupScout::Questions questions;
        questions.place = [this] {
            GroupScout::Place place;
            place.trains = own_.training && here_;
            place.step = own_.step;
            place.groups = std::max(1U, groups_);
            place.company = here_ ? here_->others().size() : 0;
            place.long_alone = steps_alone_ >= kStepsAlone;
            place.swarm_size = measures_.size();
            return place;
        };
        questions.doubted = [this](const PeerId& peer) { return doubts(peer); };
        questions.looked = [this] {
            if (!here_) measures_.set_size(census().size());
            if (!here_) measures_.set_groups(census().sample());
            if (has_reported_ && !own_.training && census().wants_us())
                tasks_.spawn(publish(shared_from_this(), census().own_key()));
            changed.notify();
        };
        return questions;
    }

    awaitable<void> look_around_for_ever(std::shared_ptr<GroupTracker> self) {
        GroupScout::Questions questions = self->questions();
        co_await scout_.run(std::move(questions));
    }

    const GroupCensus& census() const { return scout_.census(); }

    net::Network& network_;
    dht::Directory& directory_;
    Clock& clock_;
    ProgressSettings settings_;
    Log log_;

  public:
    Signal changed;

  private:
    GroupScout scout_;
    Progress own_;
    Fingerprint digest_;
    std::unique_ptr<StepGroup> here_, coming_;  ///< of the step that this peer works for, and of the next
    std::uint32_t groups_ = 0;
    GroupMeasures measures_;
    TimePoint entered_at_, said_at_;
    std::vector<PeerId> members_;  ///< of the newest round of this step, this peer included
    int steps_alone_ = 0;          ///< in a row
    Step told_{};                  ///< by what a search for a round has met
    GroupConnections connections_;
    std::shared_ptr<Farewell> farewell_;
    std::shared_ptr<BrokenPromises> promises_ = std::make_shared<BrokenPromises>();
    std::map<PeerId, TimePoint> doubted_;
    RecordNumbers numbers_;
    bool started_ = false, has_reported_ = false, stopped_ = false, unsaid_ = false, unpublished_ = false;
    Signal dirty_;
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
    bool may_take_part(const PeerId& peer, Step step) const override {
        return core_->may_take_part(peer, step);
    }
    Duration filled_by_quicker() const override { return core_->filled_by_quicker(); }
    void heard_of(Step step) override { core_->heard_of(step); }
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
