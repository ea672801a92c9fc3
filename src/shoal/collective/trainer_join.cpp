// How a peer finds its place when it starts. It trusts the peers that train. When nobody trains, a whole run
// starts or resumes: the newest checkpoint is the run's, whoever holds it, because those who left earlier
// hold older ones. Nobody can vouch for it, so it is held against what this peer has: the held-out loss must
// not be worse. Whoever holds the newest starts training, the others take its state. Who hears of nobody at
// all for a while starts by itself.
#include <algorithm>
#include <cmath>

#include "shoal/collective/trainer.h"

namespace shoal::collective {

using namespace std::chrono_literals;

namespace {

/// Peers that start together do not hear of all others at the same moment.
constexpr Duration kSettling = 1s;

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
    std::function<bool()> news = [this, &disbelieved] {
        return progress_.view().training_peers > 0 || newest_claim(disbelieved) > step_;
    };
    co_await wait_until(std::move(news), clock_.now() + kSettling);
    while (has_company()) {
        const SwarmView view = progress_.view();
        const Step newest = newest_claim(disbelieved);
        if (view.training_peers == 0 && newest > step_) {
            co_await take_checkpoint(newest, disbelieved);
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

/// Takes the state of a checkpoint that others hold. Whoever cannot show it, or shows a worse one, is
/// believed no more.
awaitable<void> Trainer::take_checkpoint(Step target, std::set<PeerId>& disbelieved) {
    std::vector<PeerId> from;
    for (const Progress& peer : progress_.peers()) {
        const bool counts = peer.role != Role::auxiliary && !disbelieved.contains(peer.peer);
        if (counts && peer.peer != network_.self() && peer.step == target) from.push_back(peer.peer);
    }
    DownloadReport download;
    bool taken = false;
    try {
        const std::function<void(std::size_t, std::size_t)> nobody;
        StatePointer state =
            co_await download_state(network_, clock_, transfer_, from, target, nobody, download, log_);
        check_offer(*state, target, download);
        taken = co_await is_better(std::move(state));
        if (!taken)
            observer_.on_trouble(ErrorKind::corrupted,
                                 "a peer offers a checkpoint of step " + std::to_string(value(target)) +
                                     " that is worse on held-out data than this peer's: not taken");
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::cancelled) throw;
        observer_.on_trouble(error.kind(), error.what());
    }
    if (!taken) {
        disbelieved.insert(from.begin(), from.end());
        co_return;
    }
    bytes_received_ += download.bytes;
    report();
    observer_.on_synchronised(step_, download);
}

/// Loads the state; true if it stays because it does about as well as what was here, or better.
awaitable<bool> Trainer::is_better(StatePointer state) {
    double before = 0, after = 0;
    StatePointer own;
    {
        const Turn::Guard guard = co_await turn_.take();
        before = co_await compute_.held_out_loss();
        own = co_await compute_.snapshot(step_);
    }
    co_await take_state(std::move(state));
    {
        const Turn::Guard guard = co_await turn_.take();
        after = co_await compute_.held_out_loss();
    }
    constexpr double kWorse = 1.2, kNoise = 0.1;
    if (!std::isfinite(before) || (std::isfinite(after) && after <= kWorse * before + kNoise)) co_return true;
    co_await take_state(std::move(own));
    co_return false;
}

}  // namespace shoal::collective
