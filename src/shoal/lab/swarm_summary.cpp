#include "shoal/lab/swarm_summary.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include "shoal/base/error.h"
#include "shoal/lab/live_view.h"

namespace shoal::lab {

const PeerLog* most_advanced(const std::vector<PeerProcess>& members) {
    const PeerLog* best = nullptr;
    for (const auto& member : members)
        if (member.role != "auxiliary" && !member.killed &&
            (!best || member.log->steps.size() > best->steps.size()))
            best = member.log.get();
    return best;
}

namespace {

/// At the last step that all survivors have taken.
bool all_agree(const FinishedSwarm& swarm, std::string& digest) {
    std::int64_t step = swarm.options.steps;
    for (const auto& member : swarm.members)
        if (member.trains() && !member.killed && swarm.interrupted)
            step = std::min(step, member.log->steps.empty() ? step : member.log->steps.rbegin()->first);
    bool agreed = true;
    for (const auto& member : swarm.members) {
        if (!member.trains() || member.killed) continue;
        if (swarm.interrupted && member.log->steps.empty()) continue;  // it had only begun
        const auto last = member.log->steps.find(step);
        if (last == member.log->steps.end()) return false;
        if (digest.empty()) digest = last->second.digest;
        agreed = agreed && last->second.digest == digest;
    }
    return agreed && !digest.empty();
}

/// The peer that came after the kill; null if it never came to that.
const PeerProcess* newcomer_of(const FinishedSwarm& swarm) {
    const auto found = std::find_if(swarm.members.begin(), swarm.members.end(),
                                    [](const PeerProcess& member) { return member.name == "full-4"; });
    return found == swarm.members.end() ? nullptr : &*found;
}

/// Samples that went into the steps, least, mean and most.
struct Batches {
    double least = 0, mean = 0, most = 0;
};

Batches batches_of(const PeerLog& log) {
    std::vector<double> sizes;
    for (const auto& [step, line] : log.steps)
        if (line.samples > 0) sizes.push_back(line.samples);
    Batches batches;
    if (sizes.empty()) return batches;
    batches.least = *std::min_element(sizes.begin(), sizes.end());
    batches.most = *std::max_element(sizes.begin(), sizes.end());
    batches.mean = std::accumulate(sizes.begin(), sizes.end(), 0.0) / static_cast<double>(sizes.size());
    return batches;
}

void print_summary(const FinishedSwarm& swarm, bool agreed, const std::string& digest, double join_seconds) {
    const PeerLog& log = *most_advanced(swarm.members);
    const Batches batches = batches_of(log);
    fmt::print(
        "\nsummary{}\n  {} steps of {:.0f} samples (target {}, {:.0f} to {:.0f}) in {}, loss {:.4f} -> "
        "{:.4f}",
        swarm.interrupted ? " of a swarm that was ended early" : "", log.steps.rbegin()->first, batches.mean,
        swarm.options.target_batch_size, batches.least, batches.most, human_time(swarm.seconds),
        log.steps.begin()->second.swarm_loss, log.steps.rbegin()->second.swarm_loss);
    if (!log.held_out.empty())
        fmt::print(", held-out {:.4f} -> {:.4f}", log.held_out.begin()->second,
                   log.held_out.rbegin()->second);
    fmt::print("\n  parameters of all survivors after the last step: {}\n",
               agreed ? "equal, digest " + digest.substr(0, 16) : "DIFFERENT");
    if (const PeerProcess* newcomer = newcomer_of(swarm); newcomer && std::isfinite(join_seconds))
        fmt::print("  full-4 joined: {:.1f} s from its start to its first contribution, {} of state\n",
                   join_seconds, human_bytes(static_cast<double>(newcomer->log->state_bytes)));
    fmt::print("\n  {:<12} {:<10} {:>9} {:>7} {:>13} {:>15}\n", "peer", "role", "samples", "rounds",
               "sent a step", "received a step");
    for (const auto& member : swarm.members) {
        const auto rounds = static_cast<double>(std::max<std::size_t>(1, member.log->rounds.size()));
        fmt::print("  {:<12} {:<10} {:>9} {:>7} {:>13} {:>15}\n", member.name, member.role,
                   member.log->samples, member.log->rounds.size(),
                   human_bytes(static_cast<double>(member.log->bytes_sent()) / rounds),
                   human_bytes(static_cast<double>(member.log->bytes_received()) / rounds));
    }
    fmt::print("\n  written: {}, {}\n", swarm.options.result.json.string(),
               swarm.options.result.plot.string());
}

void fill(const FinishedSwarm& swarm, nlohmann::json& json, double join_seconds) {
    const PeerLog& log = *most_advanced(swarm.members);
    const Batches batches = batches_of(log);
    json["complete"] = !swarm.interrupted;
    json["steps"] = log.steps.rbegin()->first;
    json["samples_per_step"] = {{"mean", batches.mean}, {"least", batches.least}, {"most", batches.most}};
    json["target_batch_size"] = swarm.options.target_batch_size;
    json["seconds"] = swarm.seconds;
    json["loss_first"] = log.steps.begin()->second.swarm_loss;
    json["loss_last"] = log.steps.rbegin()->second.swarm_loss;
    if (std::isfinite(join_seconds)) json["join_seconds"] = join_seconds;
    for (const auto& [step, line] : log.steps)
        json["loss"].push_back({{"step", step},
                                {"loss", line.swarm_loss},
                                {"samples", line.samples},
                                {"seconds", line.seconds}});
    for (const auto& [step, loss] : log.held_out)
        json["held_out"].push_back({{"step", step}, {"loss", loss}});
    for (const auto& member : swarm.members)
        json["peers"].push_back({{"name", member.name},
                                 {"role", member.role},
                                 {"peer", member.log->peer},
                                 {"killed", member.killed},
                                 {"samples", member.log->samples},
                                 {"rounds", member.log->rounds.size()},
                                 {"bytes_sent", member.log->bytes_sent()},
                                 {"bytes_received", member.log->bytes_received()}});
    for (const auto& event : swarm.events)
        json["events"].push_back({{"time", event.time}, {"text", event.text}});
}

void draw_losses(const FinishedSwarm& swarm) {
    const PeerLog& log = *most_advanced(swarm.members);
    run::Picture picture{"ALBERT tiny, five peers on one machine", "global step", "loss", {}, {}};
    run::Curve training{"training loss of the swarm", {}, {}}, held_out{"held-out loss", {}, {}, true};
    for (const auto& [step, line] : log.steps)
        training.x.push_back(static_cast<double>(step)), training.y.push_back(line.swarm_loss);
    for (const auto& [step, loss] : log.held_out)
        held_out.x.push_back(static_cast<double>(step)), held_out.y.push_back(loss);
    picture.curves = {training, held_out};
    picture.marks = swarm.marks;
    run::draw(picture, swarm.options.result.plot);
}

}  // namespace

int summarise_swarm(const FinishedSwarm& swarm) {
    std::string digest;
    const bool agreed = all_agree(swarm, digest);
    const PeerLog* log = most_advanced(swarm.members);
    if (!log || log->steps.empty())
        throw Error(ErrorKind::system,
                    "the swarm has taken no step; see the outputs in " + swarm.options.folder.string());
    const PeerProcess* newcomer = newcomer_of(swarm);
    const bool contributed = newcomer && newcomer->log->first_contribution;
    const double join_seconds =
        contributed ? *newcomer->log->first_contribution - newcomer->spawned : std::nan("");
    run::Result result("lab swarm", swarm.options.result);
    fill(swarm, result.json(), join_seconds);
    result.json()["digest"] = digest;
    result.demand("all survivors end with equal parameters", agreed);
    result.demand("the newcomer contributed", contributed);
    result.demand_at_most("last loss over first",
                          log->steps.rbegin()->second.swarm_loss / log->steps.begin()->second.swarm_loss,
                          swarm.options.result.quick ? 0.98 : 0.9);
    draw_losses(swarm);
    print_summary(swarm, agreed, digest, join_seconds);
    const int code = result.finish();
    return agreed && contributed && !swarm.interrupted ? code : 1;
}

}  // namespace shoal::lab
