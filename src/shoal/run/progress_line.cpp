#include "shoal/run/progress_line.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <unistd.h>

namespace shoal::run {

namespace {

constexpr auto kInterval = std::chrono::milliseconds(100);
constexpr double kTooEarly = 0.01;  ///< before this share is done, the remaining time is a guess

std::string span_text(double seconds) {
    const auto whole = static_cast<long>(seconds + 0.5);
    if (whole < 60) return fmt::format("{} s", whole);
    if (whole < 3600) return fmt::format("{}:{:02} min", whole / 60, whole % 60);
    return fmt::format("{}:{:02} h", whole / 3600, whole / 60 % 60);
}

}  // namespace

ProgressLine::ProgressLine()
    : start_(std::chrono::steady_clock::now()), terminal_(isatty(STDERR_FILENO) == 1) {}

double ProgressLine::seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void ProgressLine::show(double done, std::string_view what) {
    const auto now = std::chrono::steady_clock::now();
    if (!terminal_ || now - shown_ < kInterval) return;
    shown_ = now;
    visible_ = true;
    done = std::clamp(done, 0.0, 1.0);
    const double elapsed = seconds();
    const std::string remaining =
        done > kTooEarly ? ", " + span_text(elapsed * (1 - done) / done) + " to go" : "";
    fmt::print(stderr, "\r\x1b[K{:3.0f} %  {}{}", 100 * done, what, remaining);
    std::fflush(stderr);
}

void ProgressLine::clear() {
    if (!visible_) return;
    fmt::print(stderr, "\r\x1b[K");
    std::fflush(stderr);
    visible_ = false;
}

}  // namespace shoal::run
