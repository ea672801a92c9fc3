#include "shoal/sim/invariants.h"

#include <algorithm>
#include <fmt/format.h>

namespace shoal::sim {

using collective::Contributor;
using collective::Verdict;

namespace {

bool same_contributors(const Verdict& a, const Verdict& b) {
    return std::equal(a.contributors.begin(), a.contributors.end(), b.contributors.begin(),
                      b.contributors.end(), [](const Contributor& x, const Contributor& y) {
                          return x.peer == y.peer && x.role == y.role && x.weight == y.weight;
                      });
}

std::string short_digest(const Fingerprint& digest) {
    return fmt::format("{:016x}", digest.low);
}

}  // namespace

void Invariants::watch(std::size_t index) {
    Recorder& seen = *swarm_.nodes[index]->seen;
    seen.after_step = [this, index](Step step, const Fingerprint& digest) { on_step(index, step, digest); };
    seen.after_other = [this, index](const std::string& text) {
        log_.note(swarm_.now(), name(index) + ": " + text);
    };
    seen.after_round = [this, index](Step step, const Verdict& verdict) { on_round(index, step, verdict); };
}

std::string Invariants::name(std::size_t node) const {
    return fmt::format("node {}", node);
}

void Invariants::on_step(std::size_t node, Step step, const Fingerprint& digest) {
    log_.note(swarm_.now(),
              fmt::format("{} takes step {}: {}", name(node), value(step), short_digest(digest)));
    if (in_groups()) return;  // each group has another state
    const auto [first, is_new] = steps_.try_emplace(step, digest, node);
    if (is_new) return;
    ++comparisons_;
    if (first->second.first == digest) return;
    of_one_history(fmt::format("step {} has two results: {} has {}, {} has {}", value(step),
                               name(first->second.second), short_digest(first->second.first), name(node),
                               short_digest(digest)));
}

void Invariants::on_round(std::size_t node, Step step, const Verdict& verdict) {
    if (verdict.outcome != Verdict::Outcome::averaged) {
        ++failed_;
        log_.note(swarm_.now(),
                  fmt::format("{}: round of step {}, attempt {}: {}: {}", name(node), value(step),
                              verdict.attempt, to_string(verdict.outcome), verdict.cause));
        return;
    }
    log_.note(swarm_.now(), fmt::format("{}: round of step {}, attempt {}: averaged over {} members: {}",
                                        name(node), value(step), verdict.attempt, verdict.contributors.size(),
                                        short_digest(verdict.digest)));
    Round round;
    round.step = step;
    round.verdict = verdict;
    round.node = node;
    const auto [first, is_new] = rounds_.try_emplace(verdict.round, round);
    if (is_new) return on_new_round(round);
    ++comparisons_;
    if (first->second.verdict.digest != verdict.digest || !same_contributors(first->second.verdict, verdict))
        violations_.push_back(
            fmt::format("{} and {} disagree about what was averaged in the round of step {}",
                        name(first->second.node), name(node), value(step)));
}

void Invariants::on_new_round(const Round& round) {
    for (const Contributor& contributor : round.verdict.contributors)
        if (contributor.weight > 0) count_samples(round, contributor);
}

void Invariants::count_samples(const Round& round, const Contributor& contributor) {
    const auto found = swarm_.ledger->find({contributor.peer, round.step});
    const std::vector<std::uint64_t>* samples = nullptr;
    if (found != swarm_.ledger->end())
        for (const std::vector<std::uint64_t>& contribution : found->second)
            if (static_cast<double>(contribution.size()) == contributor.weight) samples = &contribution;
    if (samples == nullptr) {
        violations_.push_back(
            fmt::format("the round of step {} counts {} samples of peer {}, which never contributed them",
                        value(round.step), contributor.weight, contributor.peer.short_name()));
        return;
    }
    for (const std::uint64_t sample : *samples) {
        const auto [before, is_new] = used_.try_emplace(sample, round.step);
        if (is_new) continue;
        twice(fmt::format("a sample of peer {} stands behind step {} and step {}",
                          contributor.peer.short_name(), value(before->second), value(round.step)));
        return;
    }
}

/// In groups there are as many histories as peers, and yet no sample counts in two.
void Invariants::twice(std::string violation) {
    if (in_groups())
        violations_.push_back(std::move(violation));
    else
        of_one_history(std::move(violation));
}

void Invariants::of_one_history(std::string violation) {
    if (!may_have_two_histories()) violations_.push_back(std::move(violation));
}

bool Invariants::may_have_two_histories() const {
    if (in_groups()) return true;
    for (std::size_t i = founders_; i < swarm_.nodes.size(); ++i)
        for (const auto& [step, digest] : swarm_.nodes[i]->seen->history)
            if (step == Step{1}) return true;
    for (const NodePointer& node : swarm_.nodes)
        for (const auto& [kind, text] : node->seen->troubles)
            if (text.find("going on without") != std::string::npos) return true;
    return false;
}

std::vector<std::string> Invariants::violations() const {
    std::vector<std::string> all = violations_;
    for (std::size_t i = 0; i < swarm_.nodes.size(); ++i)
        if (const std::string& failure = swarm_.nodes[i]->failure; !failure.empty())
            all.push_back(name(i) + " stopped training: " + failure);
    all.insert(all.end(), swarm_.violations->begin(), swarm_.violations->end());
    return all;
}

}  // namespace shoal::sim
