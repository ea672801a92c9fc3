#include "shoal/lab/peer_log.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <numeric>

#include "shoal/lab/live_view.h"

namespace shoal::lab {

namespace {

double number(const nlohmann::json& line, const char* key) {
    const auto found = line.find(key);
    return found != line.end() && found->is_number() ? found->get<double>() : 0;
}

std::string text(const nlohmann::json& line, const char* key) {
    const auto found = line.find(key);
    return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
}

RoundLine round_of(const nlohmann::json& line) {
    RoundLine round;
    round.time = number(line, "time");
    round.step = static_cast<std::int64_t>(number(line, "step"));
    round.attempt = static_cast<std::int64_t>(number(line, "attempt"));
    round.outcome = text(line, "outcome");
    round.cause = text(line, "cause");
    for (const auto& member : line.value("members", nlohmann::json::array()))
        round.weights[text(member, "peer")] = number(member, "weight");
    for (const auto& lost : line.value("lost", nlohmann::json::array()))
        round.lost.push_back(lost.get<std::string>());
    round.match_seconds = number(line, "match_seconds");
    round.reduce_seconds = number(line, "reduce_seconds");
    round.vote_seconds = number(line, "vote_seconds");
    round.bytes_sent = static_cast<std::uint64_t>(number(line, "bytes_sent"));
    round.bytes_received = static_cast<std::uint64_t>(number(line, "bytes_received"));
    return round;
}

}  // namespace

std::vector<PeerEvent> PeerLog::update() {
    std::vector<PeerEvent> events;
    for (const auto& line : tail_.new_lines()) read(line, events);
    return events;
}

void PeerLog::read(const std::string& raw, std::vector<PeerEvent>& events) {
    const auto line = nlohmann::json::parse(raw, nullptr, false);
    if (!line.is_object()) return;
    const std::string event = text(line, "event");
    const double time = number(line, "time");
    if (event == "started") {
        peer = text(line, "peer").substr(0, 8);
        started = time;
    } else if (event == "micro_batch") {
        samples += static_cast<std::int64_t>(number(line, "samples"));
        samples_per_second = number(line, "samples_per_second");
        loss = number(line, "loss");
        if (!first_micro_batch) first_micro_batch = time;
    } else if (event == "round") {
        rounds.push_back(round_of(line));
        const auto& round = rounds.back();
        const auto own = round.weights.find(peer);
        if (!first_contribution && round.outcome == "averaged" && own != round.weights.end() &&
            own->second > 0)
            first_contribution = time;
        if (round.outcome != "averaged")
            events.push_back(
                {time, fmt::format("round of step {} {}: {}", round.step + 1, round.outcome, round.cause)});
    } else if (event == "step") {
        step = static_cast<std::int64_t>(number(line, "step"));
        steps[step] = {time,
                       number(line, "loss"),
                       number(line, "swarm_loss"),
                       number(line, "seconds"),
                       number(line, "samples"),
                       text(line, "digest")};
    } else if (event == "held_out") {
        held_out[static_cast<std::int64_t>(number(line, "step"))] = number(line, "loss");
    } else if (event == "synchronised") {
        synchronised = time;
        step = static_cast<std::int64_t>(number(line, "step"));
        state_bytes += static_cast<std::uint64_t>(number(line, "bytes"));
        events.push_back({time, fmt::format("has the state of step {} ({} from {} donors in {:.2f} s)", step,
                                            human_bytes(number(line, "bytes")),
                                            line.value("donors", nlohmann::json::array()).size(),
                                            number(line, "seconds"))});
    } else if (event == "trouble") {
        events.push_back({time, text(line, "text")});
    }
}

std::uint64_t PeerLog::bytes_sent() const {
    return std::accumulate(rounds.begin(), rounds.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const RoundLine& round) { return sum + round.bytes_sent; });
}

std::uint64_t PeerLog::bytes_received() const {
    return std::accumulate(
        rounds.begin(), rounds.end(), state_bytes,
        [](std::uint64_t sum, const RoundLine& round) { return sum + round.bytes_received; });
}

}  // namespace shoal::lab
