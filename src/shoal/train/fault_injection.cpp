#include "shoal/train/fault_injection.h"

#include <array>
#include <charconv>
#include <csignal>
#include <fstream>
#include <optional>
#include <utility>

#include "shoal/base/error.h"

namespace shoal::train {

namespace {

using collective::Phase;

constexpr std::array kFaults = {std::pair{"kill", Fault::kill}, std::pair{"stop", Fault::stop},
                                std::pair{"cut", Fault::cut}};
constexpr std::array kPhases = {Phase::compute, Phase::match, Phase::send,
                                Phase::reduce,  Phase::vote,  Phase::share_state};

std::optional<Fault> fault_from(std::string_view word) {
    for (const auto& [name, fault] : kFaults)
        if (word == name) return fault;
    return std::nullopt;
}

std::optional<Phase> phase_from(std::string_view word) {
    for (const Phase phase : kPhases)
        if (word == to_string(phase)) return phase;
    return std::nullopt;
}

std::optional<std::int64_t> step_from(std::string_view word) {
    std::int64_t step = 0;
    const auto result = std::from_chars(word.data(), word.data() + word.size(), step);
    if (word.empty() || result.ec != std::errc() || result.ptr != word.data() + word.size() || step < 0)
        return std::nullopt;
    return step;
}

void strike(Fault fault, net::Network& network) {
    switch (fault) {
        case Fault::kill:
            raise(SIGKILL);
            break;
        case Fault::stop:
            raise(SIGSTOP);
            break;
        case Fault::cut:
            for (const auto& connection : network.connections())
                network.disconnect(connection.peer, "the connection was cut on purpose");
            break;
    }
}

}  // namespace

Injection parse_injection(const std::string& text) {
    const auto at = text.find('@'), colon = text.find(':');
    if (at != std::string::npos && colon != std::string::npos && at < colon) {
        const auto fault = fault_from(std::string_view(text).substr(0, at));
        const auto phase = phase_from(std::string_view(text).substr(at + 1, colon - at - 1));
        const auto step = step_from(std::string_view(text).substr(colon + 1));
        if (fault && phase && step) return {*fault, *phase, static_cast<Step>(*step)};
    }
    throw Error(ErrorKind::invalid_argument, "'" + text +
                                                 "' is no fault: write FAULT@PHASE:STEP with kill, stop or "
                                                 "cut, and compute, match, send, reduce, vote or "
                                                 "share_state, e.g. kill@reduce:12");
}

collective::PhaseProbe make_probe(std::filesystem::path file, net::Network& network) {
    return [file = std::move(file), &network](Phase phase, Step step) {
        std::ifstream input(file);
        std::string text;
        if (!input || !(input >> text)) return;
        Injection injection;
        try {
            injection = parse_injection(text);
        } catch (const Error&) {
            return;
        }
        if (phase != injection.phase || step < injection.step) return;
        std::error_code ignored;
        const bool still_meant = std::filesystem::remove(file, ignored);  // it may just have been withdrawn
        if (still_meant) strike(injection.fault, network);
    };
}

}  // namespace shoal::train
