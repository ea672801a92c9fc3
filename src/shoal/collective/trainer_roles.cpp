// A peer that rests: the swarm is faster without what it sends (role_keeper.h).
#include <algorithm>

#include "shoal/collective/trainer.h"

namespace shoal::collective {

/// Until the others have filled the batch, or have needed far longer than they should.
awaitable<void> Trainer::rest() {
    std::function<bool()> over = [this] { return progress_.batch_is_full() || is_called_away(); };
    const bool in_time =
        co_await wait_until(std::move(over), last_step_at_ + from_seconds(role_.longest_step()));
    if (in_time) co_return;
    log_.info("the swarm has become slow: this peer computes again");
    role_.resume();
}

void Trainer::choose_role(const Verdict& verdict) {
    if (!settings_.choose_roles) return;
    const std::vector<Progress> live = progress_.peers();
    std::vector<double> speeds;
    for (const Contributor& member : verdict.contributors) {
        const auto is_it = [&member](const Progress& p) { return p.peer == member.peer; };
        const auto known = std::find_if(live.begin(), live.end(), is_it);
        speeds.push_back(known != live.end() ? known->samples_per_second : 0);
    }
    const double step_seconds = seconds(decided_at_ - last_step_at_);
    const RoundReport& round = verdict.report;
    const double averaging = round.match_seconds + round.reduce_seconds + round.vote_seconds;
    const double computing = settings_.delayed ? step_seconds : step_seconds - averaging;
    const bool rested = role_.rests();
    role_.step_taken(verdict, speeds, speed_.samples_per_second(), computing, step_seconds);
    if (role_.rests() == rested) return;
    log_.info(role_.rests() ? "the others take more steps without what this peer sends: it only takes results"
                            : "the swarm takes more steps with this peer: it computes again");
}

}  // namespace shoal::collective
