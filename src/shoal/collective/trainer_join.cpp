// How a peer finds its place when it starts. It trusts the peers that train, if several are as far. When
// nobody trains, a whole run starts or resumes: the newest checkpoint is the run's, whoever holds it, because
// those who left earlier hold older ones. Nobody can vouch for it, nor for the claim of a single peer, so
// such a state is held against what this peer has: the held-out loss must not be worse. Whoever holds the
// newest starts training, the others take its state. Who hears of nobody at all for a while starts by itself.
#include <algorithm>

#include "shoal/collective/trainer.h"

namespace shoal::collective {

using namespace std::chrono_literals;

namespace {

/// Peers that start together do not hear of all others at the same moment.
constexpr Duration kSettling = 1s;
/// For how long nobody believes whom a checkpoint was refused from.
constexpr Duration kDoubt = 10min;

}  // namespace

bool Trainer::has_company() const {
    const std::vector<Progress> live = progress_.peers();
    return std::any_of(live.begin(), live.end(), [this](const Progress& peer) {
        return peer.peer != network_.self() && peer.role != Role::auxiliary;
    });
}

/// The latest step that anybody claims, our own included.
Step Trainer::newest_claim(const std::set<PeerId>& disbelieved) const {
    Step newest = step_;
    for (const Progress& peer : progress_.peers()) {
        const bool counts = peer.role != Role::auxiliary && !disbelieved.contains(peer.peer);
        if (counts && peer.step <= settings_.last_step) newest = std::max(newest, peer.step);
    }
    return newest;
}

/// How many claim this step or a later one.
std::size_t Trainer::claimants(Step step, const std::set<PeerId>& disbelieved) const {
    const std::vector<Progress> live = progress_.peers();
    return static_cast<std::size_t>(std::count_if(live.begin(), live.end(), [&](const Progress& peer) {
        return peer.role != Role::auxiliary && peer.peer != network_.self() && peer.step >= step &&
               !disbelieved.contains(peer.peer);
    }));
}

/// True if most of those at our step, whether they train already or not, hold our state.
bool Trainer::agrees_with_most() const {
    int same = 0, all = 0;
    for (const Progress& peer : progress_.peers()) {
        if (peer.role == Role::auxiliary || peer.step != step_) continue;
        ++all;
        same += peer.peer == network_.self() || peer.digest == digest_ ? 1 : 0;
    }
    return 2 * same > all;
}

awaitable<void> Trainer::join_run() {
    report();
    std::set<PeerId> disbelieved;
    const TimePoint alone_at = clock_.now() + settings_.alone_after;
    std::function<bool()> heard = [this] { return has_company(); };
    const bool somebody = co_await wait_until(std::move(heard), alone_at);
    if (!somebody) co_return;
    std::function<bool()> somebody_trains = [this] { return progress_.view().training_peers > 0; };
    co_await wait_until(std::move(somebody_trains), clock_.now() + kSettling);
    while (has_company()) {
        const SwarmView view = progress_.view();
        const Step newest = newest_claim(disbelieved);
        const bool lone = claimants(std::max(view.step, next(step_)), disbelieved) <= 1;
        if ((view.training_peers <= 1 || lone) && newest > step_) {
            const bool taken = co_await take_checkpoint(newest, disbelieved);
            if (taken && view.training_peers > 0) co_return;
        } else if (view.step == step_ &&
                   (view.digest == digest_ || agrees_with_most() || donors(step_, true).empty())) {
            if (view.training_peers > 0 && view.digest == digest_) companions_.arrive();
            co_return;
        } else {
            const bool done = co_await synchronise();
            if (done) co_return;
        }
    }
}

/// Takes the state of a checkpoint that others hold. Whoever shows a worse one, or none at all, is believed
/// no more; who is merely out of reach is asked again a few times.
awaitable<bool> Trainer::take_checkpoint(Step target, std::set<PeerId>& disbelieved) {
    constexpr unsigned kTries = 4;
    std::vector<PeerId> from;
    for (const Progress& peer : progress_.peers()) {
        const bool counts = peer.role != Role::auxiliary && !disbelieved.contains(peer.peer);
        if (counts && peer.peer != network_.self() && peer.step >= target) from.push_back(peer.peer);
    }
    DownloadReport download;
    bool taken = false, out_of_reach = false;
    try {
        const std::function<void(std::size_t, std::size_t)> nobody;
        StatePointer state =
            co_await download_state(network_, clock_, transfer_, from, target, nobody, download, log_);
        check_offer(*state, target, download);
        learn_line(download);
        taken = co_await adopt(std::move(state));
        if (!taken) doubt_for_long(from, target);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        out_of_reach = error.kind() == ErrorKind::unreachable && download.pretenders.empty();
        observer_.on_trouble(error.kind(), error.what());
    }
    if (taken) {
        failed_downloads_ = 0;
        ++downloads_since_round_;
        bytes_received_ += download.bytes;
        report();
        observer_.on_synchronised(step_, download);
    } else if (out_of_reach && ++failed_downloads_ < kTries) {
        std::function<bool()> somebody_trains = [this] { return progress_.view().training_peers > 0; };
        co_await wait_until(std::move(somebody_trains), clock_.now() + kSettling);
    } else {
        failed_downloads_ = 0;
        disbelieved.insert(from.begin(), from.end());
        for (const PeerId& peer : from) progress_.doubt(peer, kDoubt);
    }
    co_return taken;
}

}  // namespace shoal::collective
