#include "shoal/train/console.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fmt/format.h>

namespace shoal::train {

namespace {

std::string duration_text(double seconds) {
    const auto whole = static_cast<long>(seconds + 0.5);
    if (whole >= 86400) return fmt::format("{} d {} h", whole / 86400, whole / 3600 % 24);
    if (whole >= 3600) return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
    return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

Console::Console(Step last_step, Log log) : last_step_(last_step), log_(std::move(log)) {}

void Console::say(const std::string& text) {
    fmt::print("{}\n", text);
    std::fflush(stdout);
}

void Console::tell(const std::string& text) {
    spoken_ = true;
    say(text);
}

std::string Console::on_the_way(const collective::SwarmView& view, Step own, Samples target) {
    if (own < view.step) return fmt::format("on the way to step {}, where the swarm is", value(view.step));
    const std::string by = fmt::format("{} peer{}", view.training_peers, view.training_peers == 1 ? "" : "s");
    const std::int64_t samples = std::min(value(view.samples), value(target));
    if (value(view.samples) >= value(target))
        return fmt::format("step {}: all {} samples are there, averaging among {}", value(next(view.step)),
                           value(target), by);
    const std::string left = view.samples_per_second > 0 && view.eta < std::chrono::hours(24 * 365)
                                 ? fmt::format(", about {} left", duration_text(seconds(view.eta)))
                                 : std::string();
    return fmt::format("step {}: {} of {} samples by {}{}", value(next(view.step)), samples, value(target),
                       by, left);
}

void Console::on_micro_batch(const collective::MicroBatchResult&, const collective::Progress& own) {
    samples_per_second_ = own.samples_per_second;
}

void Console::on_round(Step step, const collective::Verdict& verdict) {
    if (verdict.outcome != collective::Verdict::Outcome::averaged) {
        tell(fmt::format("round for step {} {}: {}", value(next(step)), to_string(verdict.outcome),
                         verdict.cause));
        return;
    }
    round_samples_ = 0;
    round_contributors_ = 0;
    for (const collective::Contributor& member : verdict.contributors) {
        if (!(member.weight > 0)) continue;  // auxiliary peers, and those that had nothing yet
        round_samples_ += member.weight;
        ++round_contributors_;
    }
}

void Console::on_step(Step step, double loss, double swarm_loss, double step_seconds,
                      const Fingerprint& digest) {
    trouble_.clear();
    average_step_seconds_ =
        average_step_seconds_ == 0 ? step_seconds : 0.9 * average_step_seconds_ + 0.1 * step_seconds;
    const double left = average_step_seconds_ * static_cast<double>(value(last_step_) - value(step));
    tell(
        fmt::format("step {}/{}  loss {:.4f} (here {:.4f})  {:.0f} samples by {} peer{} in {:.2f} s  here "
                    "{:.1f} samples/s  {} left  {}",
                    value(step), value(last_step_), swarm_loss, loss, round_samples_, round_contributors_,
                    round_contributors_ == 1 ? "" : "s", step_seconds, samples_per_second_,
                    duration_text(left), digest.hex().substr(0, 8)));
}

void Console::on_held_out_loss(Step step, double loss) {
    held_out_ = std::pair(step, loss);
    tell(fmt::format("step {}  held-out loss {:.4f}", value(step), loss));
}

double Console::held_out_loss_of(Step step) const {
    return value(step) > 0 && held_out_.first == step ? held_out_.second : std::nan("");
}

void Console::on_synchronised(Step step, const collective::DownloadReport& report) {
    tell(fmt::format("loaded the state of step {}: {:.1f} MB from {} peer{} in {:.2f} s", value(step),
                     static_cast<double>(report.bytes) / 1e6, report.donors.size(),
                     report.donors.size() == 1 ? "" : "s", report.seconds));
}

// Whoever holds a state may leave, or train on, while it is asked: then the next one is asked.
void Console::on_trouble(ErrorKind, const std::string& text) {
    const bool no_state = text.starts_with("no state of step ");
    const std::string calm = no_state ? "the swarm's state cannot be had just now; trying again" : text;
    if (no_state) log_.info(text);
    if (calm == trouble_) return;
    trouble_ = calm;
    tell(calm);
}

}  // namespace shoal::train
