#include "shoal/train/console.h"

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

Console::Console(Step last_step) : last_step_(last_step) {}

void Console::say(const std::string& text) {
    fmt::print("{}\n", text);
    std::fflush(stdout);
}

void Console::on_micro_batch(const collective::MicroBatchResult&, const collective::Progress& own) {
    samples_per_second_ = own.samples_per_second;
}

void Console::on_round(Step step, const collective::Verdict& verdict) {
    if (verdict.outcome != collective::Verdict::Outcome::averaged) {
        say(fmt::format("round for step {} {}: {}", value(next(step)), to_string(verdict.outcome),
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
    say(
        fmt::format("step {}/{}  loss {:.4f} (here {:.4f})  {:.0f} samples by {} peers in {:.2f} s  here "
                    "{:.1f} samples/s  {} left  {}",
                    value(step), value(last_step_), swarm_loss, loss, round_samples_, round_contributors_,
                    step_seconds, samples_per_second_, duration_text(left), digest.hex().substr(0, 8)));
}

void Console::on_held_out_loss(Step step, double loss) {
    say(fmt::format("step {}  held-out loss {:.4f}", value(step), loss));
}

void Console::on_synchronised(Step step, const collective::DownloadReport& report) {
    say(fmt::format("loaded the state of step {}: {:.1f} MB from {} peers in {:.2f} s", value(step),
                    static_cast<double>(report.bytes) / 1e6, report.donors.size(), report.seconds));
}

void Console::on_trouble(ErrorKind, const std::string& text) {
    if (text == trouble_) return;
    trouble_ = text;
    say(text);
}

}  // namespace shoal::train
