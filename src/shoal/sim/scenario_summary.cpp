#include "shoal/sim/scenario_summary.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace shoal::sim {

using collective::Contributor;
using collective::Verdict;

namespace {

double median(std::vector<double> values) {
    if (values.empty()) return 0;
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

/// The cause without what differs from case to case: names of peers, numbers.
std::string kind_of_cause(const std::string& cause) {
    std::string text = cause;
    if (text.rfind("peer ", 0) == 0)
        if (const std::size_t colon = text.find(": "); colon != std::string::npos)
            text = text.substr(colon + 2);
    const std::size_t end = text.find_first_of(":;,(");
    if (end != std::string::npos && end > 8) text.resize(end);
    std::string result;
    for (const char c : text) {
        const bool digit = c >= '0' && c <= '9';
        if (digit && !result.empty() && result.back() == '#') continue;
        result += digit ? '#' : c;
    }
    return result;
}

/// All that the members of one averaged round tell of it.
struct Round {
    const Verdict* verdict = nullptr;
    double at = 0, loss = 0, loss_weight = 0;
    std::vector<double> match, reduce, vote;
    std::vector<std::pair<std::size_t, const Verdict*>> members;  ///< index in `peers`
};

class Summary {
  public:
    Summary(const Scenario& scenario, const std::vector<SummarisedPeer>& peers, double scale,
            ScenarioResult& result)
        : scenario_(scenario), peers_(peers), scale_(scale), result_(result) {
        for (const PeerGroup& group : scenario.peers) {
            GroupSummary summary;
            summary.name = group.name;
            result.groups.push_back(summary);
        }
    }

    void all() {
        for (std::size_t i = 0; i < peers_.size(); ++i) index_.emplace(peers_[i].node->peer.id, i);
        for (std::size_t i = 0; i < peers_.size(); ++i) gather(i);
        for (const auto& [key, round] : rounds_) {
            add_round(value(key.first), round);
            find_bottleneck(round);
        }
        double before = 0;
        for (StepSummary& step : result_.steps) {
            step.seconds = step.at - before;
            before = step.at;
        }
        for (const auto& [kind, rounds] : failed_)
            result_.failed_rounds[kind] = static_cast<std::int64_t>(rounds.size());
    }

  private:
    void gather(std::size_t index) {
        const SummarisedPeer& peer = peers_[index];
        GroupSummary& group = result_.groups[peer.group];
        ++group.peers;
        group.peer_seconds += peer.seconds;
        group.bytes_sent += static_cast<double>(peer.traffic.bytes_sent);
        group.bytes_received += static_cast<double>(peer.traffic.bytes_received);
        if (peer.node->compute) {
            const auto computed = static_cast<double>(peer.node->compute->samples_computed());
            group.samples_computed += computed;
            result_.samples_computed += computed;
        }
        const Recorder& seen = *peer.node->seen;
        for (const auto& [step, verdict] : seen.averaged) gather_round(index, step, verdict);
        for (const Recorder::Failure& failure : seen.failures)
            failed_[kind_of_cause(failure.verdict.cause)].insert({failure.step, failure.verdict.attempt});
    }

    void gather_round(std::size_t index, Step step, const Verdict& verdict) {
        const Recorder& seen = *peers_[index].node->seen;
        Round& round = rounds_[{step, verdict.round}];
        if (round.verdict == nullptr) round.verdict = &verdict;
        round.match.push_back(verdict.report.match_seconds);
        round.reduce.push_back(verdict.report.reduce_seconds);
        round.vote.push_back(verdict.report.vote_seconds);
        round.members.emplace_back(index, &verdict);
        const auto taken = seen.steps.find(next(step));
        if (taken == seen.steps.end()) return;
        const double at = seconds(taken->second.when.since_start);
        round.at = round.at > 0 ? std::min(round.at, at) : at;
        for (const Contributor& contributor : verdict.contributors)
            if (contributor.peer == peers_[index].node->peer.id && contributor.weight > 0) {
                round.loss += contributor.weight * taken->second.loss;
                round.loss_weight += contributor.weight;
            }
    }

    /// Rounds come in the order of steps; of one step there are several where the swarm averages in groups.
    void add_round(std::int64_t step, const Round& round) {
        const bool is_first = result_.steps.empty() || result_.steps.back().step != step + 1;
        if (is_first) begin_step(step);
        StepSummary& summary = result_.steps.back();
        ++result_.rounds;
        summary.rounds += is_first ? 0 : 1;
        if (round.at > 0) summary.at = summary.at > 0 ? std::min(summary.at, round.at) : round.at;
        loss_sum_ += round.loss;
        loss_weight_ += round.loss_weight;
        summary.loss = loss_weight_ > 0 ? loss_sum_ / loss_weight_ : 0;
        summary.members += round.verdict->contributors.size();
        summary.attempts = std::max(summary.attempts, round.verdict->attempt + 1);
        for (const auto& [place, times, median_of] :
             {std::tuple{&match_, &round.match, &summary.match_seconds},
              std::tuple{&reduce_, &round.reduce, &summary.reduce_seconds},
              std::tuple{&vote_, &round.vote, &summary.vote_seconds}}) {
            place->insert(place->end(), times->begin(), times->end());
            *median_of = median(*place);
        }
        for (const Contributor& contributor : round.verdict->contributors) {
            summary.samples += contributor.weight;
            result_.samples_counted += contributor.weight;
            if (GroupSummary* group = group_of(contributor.peer))
                group->samples_counted += contributor.weight;
        }
    }

    void begin_step(std::int64_t step) {
        StepSummary summary;
        summary.step = step + 1;
        result_.steps.push_back(summary);
        loss_sum_ = loss_weight_ = 0;
        for (std::vector<double>* times : {&match_, &reduce_, &vote_}) times->clear();
    }

    GroupSummary* group_of(const PeerId& id) {
        const auto found = index_.find(id);
        return found == index_.end() ? nullptr : &result_.groups[peers_[found->second].group];
    }

    /// The line that was busy the longest has held the round up, if it was busy half of the time.
    void find_bottleneck(const Round& round) {
        double longest = 0.5 * median(round.reduce);
        std::int64_t* bottleneck = &result_.rounds_without_bottleneck;
        for (const auto& [index, verdict] : round.members) {
            const PeerGroup& line = scenario_.peers[peers_[index].group];
            GroupSummary& group = result_.groups[peers_[index].group];
            const double reduce = verdict->report.reduce_seconds;
            const double up = busy(verdict->report.bytes_sent, line.upload);
            const double down = busy(verdict->report.bytes_received, line.download);
            group.round_seconds += reduce;
            group.upload_busy += std::min(up, reduce);
            group.download_busy += std::min(down, reduce);
            if (up > longest) longest = up, bottleneck = &group.bottleneck_upload;
            if (down > longest) longest = down, bottleneck = &group.bottleneck_download;
        }
        ++*bottleneck;
    }

    double busy(std::uint64_t bytes, double rate) const {
        return rate > 0 ? scale_ * static_cast<double>(bytes) / rate : 0;
    }

    const Scenario& scenario_;
    const std::vector<SummarisedPeer>& peers_;
    double scale_;
    ScenarioResult& result_;
    double loss_sum_ = 0, loss_weight_ = 0;      ///< of the newest step
    std::vector<double> match_, reduce_, vote_;  ///< likewise
    std::map<std::pair<Step, collective::RoundId>, Round> rounds_;
    std::map<PeerId, std::size_t> index_;  ///< in peers_, the first of those with this id
    std::map<std::string, std::set<std::pair<Step, unsigned>>> failed_;
};

}  // namespace

void summarise_rounds(const Scenario& scenario, const std::vector<SummarisedPeer>& peers,
                      double payload_scale, ScenarioResult& result) {
    Summary(scenario, peers, payload_scale, result).all();
}

}  // namespace shoal::sim
