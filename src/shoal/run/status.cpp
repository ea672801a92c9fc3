#include "shoal/run/status.h"

#include <algorithm>
#include <cmath>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "shoal/run/probes.h"

namespace shoal::run {
namespace {

using namespace std::chrono_literals;
using collective::Progress;
using nlohmann::ordered_json;

std::string human_bytes(double bytes) {
    const char* const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    std::size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < std::size(units)) {
        bytes /= 1000;
        ++unit;
    }
    return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, units[unit]);
}

/// Whether a peer holds the state that most others of its step hold.
std::string agreement(const Progress& peer, const SwarmReport& report) {
    if (const auto silent = report.silent.find(peer.peer); silent != report.silent.end())
        return fmt::format("silent for {:.0f} s", silent->second);
    if (peer.role == collective::Role::auxiliary) return "-";
    if (!peer.training) return "loading";
    if (report.is_sample && peer.step == report.view.step) return "-";
    if (peer.step != report.view.step) {
        const std::int64_t behind = value(report.view.step) - value(peer.step);
        return behind > 0 ? fmt::format("{} behind", behind) : fmt::format("{} ahead", -behind);
    }
    return peer.digest == report.view.digest ? "equal" : "DIFFERS";
}

double share(const Progress& peer, const SwarmReport& report) {
    const auto total = static_cast<double>(value(report.view.samples));
    if (total <= 0 || peer.step != report.view.step) return 0;
    return static_cast<double>(value(peer.samples)) / total;
}

bool has_speed(const Progress& peer, const SwarmReport& report) {
    return peer.role != collective::Role::auxiliary && !report.silent.contains(peer.peer);
}

std::string or_dash(bool has, const std::string& text) {
    return has ? text : "-";
}

ordered_json finite(double number) {
    return std::isfinite(number) ? ordered_json(number) : ordered_json(nullptr);
}

}  // namespace

double silence_allowed(const Progress& peer) {
    constexpr double kSlack = 2, kFactor = 3, kInRound = 15;
    return peer.waiting ? kInRound : kSlack + kFactor * peer.micro_batch_seconds;
}

std::string to_table(const SwarmReport& report) {
    const auto training = std::count_if(
        report.peers.begin(), report.peers.end(),
        [&report](const Progress& peer) { return peer.training && !report.silent.contains(peer.peer); });
    std::string text = fmt::format(
        "run {}: averages in groups; about {} peers at about step {}, of which these are a sample, up to "
        "half "
        "a minute old\n",
        report.run, report.view.peers, value(report.view.step));
    if (!report.is_sample)
        text = fmt::format(
            "run {}: step {}, {} samples towards the next, {:.1f} samples/s, {} peer{} ({} training)\n",
            report.run, value(report.view.step), value(report.view.samples), report.view.samples_per_second,
            report.peers.size(), report.peers.size() == 1 ? "" : "s", training);
    text += fmt::format("{:<24} {:<8} {:<9} {:>8} {:>6} {:>9} {:>8} {:>9} {:>9}  {}\n", "name", "peer",
                        "role", "step", "share", "samples/s", "loss", "sent", "received", "state");
    for (const Progress& peer : report.peers) {
        const bool helper = peer.role == collective::Role::auxiliary;
        text += fmt::format("{:<24} {:<8} {:<9} {:>8} {:>6} {:>9} {:>8} {:>9} {:>9}  {}\n",
                            peer.name.empty() ? peer.peer.short_name() : peer.name, peer.peer.short_name(),
                            to_string(peer.role), value(peer.step),
                            or_dash(!helper, fmt::format("{:.0f}%", 100 * share(peer, report))),
                            or_dash(has_speed(peer, report), fmt::format("{:.1f}", peer.samples_per_second)),
                            or_dash(!helper && peer.loss != 0, fmt::format("{:.4f}", peer.loss)),
                            human_bytes(static_cast<double>(peer.bytes_sent)),
                            human_bytes(static_cast<double>(peer.bytes_received)), agreement(peer, report));
    }
    return text;
}

std::string to_json(const SwarmReport& report) {
    ordered_json whole;
    whole["run"] = report.run;
    whole["time"] = static_cast<double>(report.time.time_since_epoch().count()) / 1000;
    whole["step"] = value(report.view.step);
    whole["sample_of"] = report.is_sample ? ordered_json(report.view.peers) : ordered_json(nullptr);
    whole["samples"] = value(report.view.samples);
    whole["samples_per_second"] = finite(report.view.samples_per_second);
    whole["peers"] = ordered_json::array();
    for (const Progress& peer : report.peers) {
        ordered_json one;
        one["name"] = peer.name;
        one["peer"] = peer.peer.hex();
        one["role"] = std::string(to_string(peer.role));
        one["step"] = value(peer.step);
        one["training"] = peer.training;
        one["samples"] = value(peer.samples);
        one["share"] = finite(share(peer, report));
        one["samples_per_second"] =
            has_speed(peer, report) ? finite(peer.samples_per_second) : ordered_json(nullptr);
        one["loss"] = peer.role == collective::Role::auxiliary ? ordered_json(nullptr) : finite(peer.loss);
        one["digest"] = peer.digest.hex();
        one["state"] = agreement(peer, report);
        const auto silent = report.silent.find(peer.peer);
        one["silent_seconds"] =
            silent == report.silent.end() ? ordered_json(nullptr) : ordered_json(silent->second);
        one["bytes_sent"] = peer.bytes_sent;
        one["bytes_received"] = peer.bytes_received;
        whole["peers"].push_back(std::move(one));
    }
    return whole.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

SwarmObserver::SwarmObserver(Node& node, std::string run) : node_(node), run_(std::move(run)) {}

SwarmObserver::~SwarmObserver() = default;

awaitable<void> SwarmObserver::start(Duration patience) {
    const TimePoint deadline = node_.clock().now() + patience;
    try {
        awaitable<void> trying = node_.bootstrap().until_tried();
        co_await with_deadline(node_.clock(), deadline, std::move(trying), "reaching a bootstrap address");
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::timed_out) throw;
    }
    if (!node_.bootstrap().met()) {
        const std::string causes = node_.bootstrap().causes();
        throw Error(ErrorKind::unreachable,
                    "no bootstrap address answers (" + (causes.empty() ? "no word in time" : causes) + ")");
    }
    if (run_.empty()) co_await find_run(deadline);
    // Whether a run averages in groups only its file says, and there may be none: so we listen in both ways.
    constexpr std::size_t kAnySize = 2;
    tracker_ = listen_to(0);
    census_ = listen_to(kAnySize);
    co_await tracker_->start();
    co_await census_->start();
    co_await until_complete(deadline);
    co_await until_heard_anew();
}

std::shared_ptr<collective::ProgressTracker> SwarmObserver::listen_to(std::size_t group_size) {
    collective::ProgressSettings settings;
    settings.run = run_;
    settings.target_batch_size = Samples{1};  // only a peer that trains needs to know when a batch is full
    settings.group_size = group_size;
    return collective::make_progress_tracker(node_.network(), node_.directory(), node_.clock(),
                                             std::move(settings), node_.log());
}

/// Of a run in groups nobody hears all: the census has some of them.
void SwarmObserver::add_sample(SwarmReport& result) const {
    const bool is_other = !result.peers.empty() || !census_;
    if (is_other) return;
    result.peers = census_->peers();
    std::erase_if(result.peers, [&](const Progress& peer) { return peer.peer == node_.id(); });
    if (result.peers.empty()) return;
    result.is_sample = true;
    result.view = census_->view();
}

/// Notes whose words are new.
void SwarmObserver::listen() {
    const TimePoint now = node_.clock().now();
    for (const Progress& peer : tracker_->peers()) {
        Heard& heard = heard_[peer.peer];
        if (heard.said == peer.time) continue;
        heard.anew = heard.said != WallTime{};
        heard.said = peer.time;
        heard.at = now;
    }
}

/// Seconds since the peer has last said anything. Its first words may be old ones that the directory keeps:
/// then what counts is when they were said, by clocks that may differ.
double SwarmObserver::silence(const Progress& peer) const {
    const auto found = heard_.find(peer.peer);
    if (found == heard_.end()) return 0;
    const double here = seconds(node_.clock().now() - found->second.at);
    if (found->second.anew) return here;
    const auto difference = node_.clock().wall_now() - peer.time;
    return std::max(here, static_cast<double>(difference.count()) / 1000);
}

/// Whoever seems silent gets the time to speak, so that a wrong clock makes nobody look dead.
awaitable<void> SwarmObserver::until_heard_anew() {
    constexpr double kLongest = 4;
    const auto begin = node_.clock().now();
    for (;;) {
        double needed = 0;
        for (const Progress& peer : report().peers)
            if (!heard_[peer.peer].anew && silence(peer) > silence_allowed(peer) && peer.training)
                needed = std::max(needed, std::min(kLongest, silence_allowed(peer)));
        const TimePoint deadline = begin + from_seconds(needed);
        if (node_.clock().now() >= deadline) co_return;
        awaitable<void> changing = tracker_->changed().wait();
        co_await shoal::detail::ends_in_time(node_.clock(), deadline, std::move(changing));
    }
}

awaitable<void> SwarmObserver::find_run(TimePoint deadline) {
    std::string causes;
    for (const BootstrapAddress& address : node_.bootstrap().addresses()) {
        if (address.state != BootstrapAddress::State::connected) continue;
        try {
            const PeerAbout about =
                co_await ask_about(node_.network(), node_.clock(), address.peer, deadline);
            run_ = about.run;
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            causes += std::string("; ") + error.what();
        }
        if (!run_.empty()) co_return;
    }
    throw Error(
        ErrorKind::invalid_argument,
        "the peers at the bootstrap addresses are meeting points of any run: say which one you mean with "
        "--run NAME or a run file" +
            causes);
}

/// A seed that has the run file knows the run, though nobody trains.
awaitable<bool> SwarmObserver::is_served_here(TimePoint deadline) {
    const TimePoint limit = std::max(deadline, node_.clock().now() + 2s);
    for (const BootstrapAddress& address : node_.bootstrap().addresses()) {
        if (address.state != BootstrapAddress::State::connected) continue;
        try {
            const PeerAbout about = co_await ask_about(node_.network(), node_.clock(), address.peer, limit);
            if (about.run == run_) co_return true;
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
        }
    }
    co_return false;
}

/// Peers speak within a second or so; the first words are waited for, the others for as long as more come.
awaitable<void> SwarmObserver::until_complete(TimePoint deadline) {
    Clock& clock = node_.clock();
    TimePoint quiet = deadline;
    std::size_t known = 0;
    while (clock.now() < std::min(quiet, deadline)) {
        awaitable<void> changing = tracker_->changed().wait();
        const TimePoint look_at = std::min({quiet, deadline, clock.now() + 100ms});  // at the census
        co_await shoal::detail::ends_in_time(clock, look_at, std::move(changing));
        const std::size_t count = report().peers.size();
        if (count > known) quiet = clock.now() + 700ms;
        known = std::max(known, count);
    }
    if (known > 0 && !report().is_sample) census_.reset();
    if (known > 0) co_return;
    const bool is_served = co_await is_served_here(deadline);
    if (!is_served)
        throw Error(ErrorKind::unreachable, "a bootstrap address answers, but nobody speaks for the run '" +
                                                run_ + "': is that its name, and is it running?");
}

SwarmReport SwarmObserver::report() {
    listen();
    SwarmReport result;
    result.run = run_;
    result.time = node_.clock().wall_now();
    result.view = tracker_->view();
    result.peers = tracker_->peers();
    std::erase_if(result.peers, [&](const Progress& peer) { return peer.peer == node_.id(); });
    add_sample(result);
    for (const Progress& peer : result.peers) {
        if (result.is_sample) break;  // it is said seldom
        const double silent_for = silence(peer);
        if (!peer.training || silent_for <= silence_allowed(peer)) continue;
        result.silent[peer.peer] = silent_for;
        result.view.samples_per_second =
            std::max(0.0, result.view.samples_per_second - peer.samples_per_second);
    }
    std::sort(result.peers.begin(), result.peers.end(), [](const Progress& a, const Progress& b) {
        return std::tie(a.name, a.peer) < std::tie(b.name, b.peer);
    });
    return result;
}

awaitable<void> SwarmObserver::stop() {
    if (tracker_) co_await tracker_->stop();
    if (census_) co_await census_->stop();
}

}  // namespace shoal::run
