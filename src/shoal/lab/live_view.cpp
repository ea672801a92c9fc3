#include "shoal/lab/live_view.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace shoal::lab {

std::string human_bytes(double bytes) {
    constexpr std::array units = {"B", "kB", "MB", "GB", "TB"};
    std::size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < units.size()) bytes /= 1000, ++unit;
    return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, units[unit]);
}

std::string human_time(double seconds) {
    const auto whole = static_cast<long>(std::max(0.0, seconds) + 0.5);
    if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
    return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

std::string spark_line(const std::vector<double>& values, std::size_t width) {
    static constexpr std::array<const char*, 8> blocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    if (values.empty()) return {};
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    const double range = std::max(*high - *low, 1e-9);
    std::string line;
    const std::size_t columns = std::min(width, values.size());
    for (std::size_t column = 0; column < columns; ++column) {
        const std::size_t from = column * values.size() / columns;
        const std::size_t to = std::max(from + 1, (column + 1) * values.size() / columns);
        double sum = 0;
        for (std::size_t i = from; i < to; ++i) sum += values[i];
        const double height = (sum / static_cast<double>(to - from) - *low) / range;
        line += blocks[std::min<std::size_t>(7, static_cast<std::size_t>(height * 7.999))];
    }
    return line;
}

std::string fit_columns(std::string_view line, std::size_t columns) {
    std::string cut;
    std::size_t used = 0;
    for (std::size_t i = 0; i < line.size();) {
        std::size_t end = i + 1;
        const bool colour = line[i] == '\033';
        if (colour) {
            while (end < line.size() && line[end - 1] != 'm') ++end;
        } else {
            while (end < line.size() && (static_cast<unsigned char>(line[end]) & 0xC0) == 0x80) ++end;
        }
        if (colour || used < columns) cut += line.substr(i, end - i);
        used += colour ? 0 : 1;
        i = end;
    }
    return cut;
}

namespace {

std::string bar(double fill, std::size_t width) {
    const auto full = static_cast<std::size_t>(std::clamp(fill, 0.0, 1.0) * static_cast<double>(width) + 0.5);
    std::string text;
    for (std::size_t i = 0; i < width; ++i) text += i < full ? "█" : "░";
    return text;
}

std::string loss_text(double loss) {
    return loss > 0 ? fmt::format("{:.4f}", loss) : "-";
}

constexpr const char* kBold = "\033[1m";
constexpr const char* kDim = "\033[2m";
constexpr const char* kRed = "\033[31m";
constexpr const char* kGreen = "\033[32m";
constexpr const char* kPlain = "\033[0m";

const char* colour_of(const PeerRow& peer) {
    if (!peer.alive) return kRed;
    return peer.state == "training" || peer.state == "helping" ? kGreen : kDim;
}

constexpr std::size_t kWide = 110;  ///< columns that the whole table takes
constexpr std::size_t kUsual = 80;

std::size_t terminal_columns() {
    winsize size{};
    const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : kUsual;
}

std::string peer_line(const PeerRow& peer, std::size_t columns) {
    if (columns < kWide)
        return fmt::format("  {}{:<10}{} {:<12} {:>6} {:>9.1f} {:>4.0f} % {:>8} {:>9} {:>9}", colour_of(peer),
                           peer.name, kPlain, peer.state, peer.step, peer.samples_per_second,
                           peer.share * 100, loss_text(peer.loss),
                           human_bytes(static_cast<double>(peer.bytes_sent)),
                           human_bytes(static_cast<double>(peer.bytes_received)));
    return fmt::format("  {}{:<12}{} {:<10} {:<13} {:>6} {:>10.1f} {:>5.0f} %  {} {:>9} {:>10} {:>10}",
                       colour_of(peer), peer.name, kPlain, peer.role, peer.state, peer.step,
                       peer.samples_per_second, peer.share * 100, bar(peer.share, 10), loss_text(peer.loss),
                       human_bytes(static_cast<double>(peer.bytes_sent)),
                       human_bytes(static_cast<double>(peer.bytes_received)));
}

std::string heading(std::size_t columns) {
    if (columns < kWide)
        return fmt::format("  {}{:<10} {:<12} {:>6} {:>9} {:>6} {:>8} {:>9} {:>9}{}", kDim, "peer", "state",
                           "step", "samples/s", "share", "loss", "sent", "received", kPlain);
    return fmt::format("  {}{:<12} {:<10} {:<13} {:>6} {:>10} {:>18} {:>10} {:>10} {:>10}{}", kDim, "peer",
                       "role", "state", "step", "samples/s", "share of batch", "loss", "sent", "received",
                       kPlain);
}

std::vector<std::string> lines_of(const SwarmPicture& picture, std::size_t columns) {
    std::vector<std::string> lines;
    lines.push_back(fmt::format("{}{}{}", kBold, picture.title, kPlain));
    lines.push_back(fmt::format("  step {}/{}   loss {}   held-out {}   {} elapsed, {} left", picture.step,
                                picture.last_step, loss_text(picture.loss), loss_text(picture.held_out_loss),
                                human_time(picture.seconds),
                                picture.remaining_seconds < 0 ? "?" : human_time(picture.remaining_seconds)));
    lines.push_back(fmt::format("  batch {} {:3.0f} %    loss {}", bar(picture.batch_fill, 20),
                                picture.batch_fill * 100,
                                spark_line(picture.loss_curve, columns < kWide ? 32 : 48)));
    lines.emplace_back();
    lines.push_back(heading(columns));
    for (const auto& peer : picture.peers) lines.push_back(peer_line(peer, columns));
    lines.emplace_back();
    const std::size_t shown = std::min<std::size_t>(picture.events.size(), 6);
    for (std::size_t i = picture.events.size() - shown; i < picture.events.size(); ++i)
        lines.push_back("  " + picture.events[i]);
    for (std::string& line : lines) line = fit_columns(line, columns);
    return lines;
}

}  // namespace

LiveView::LiveView(bool redraw) : redraw_(redraw && isatty(STDOUT_FILENO)) {}

void LiveView::draw(const SwarmPicture& picture) {
    if (redraw_)
        draw_table(picture);
    else
        print_news(picture);
    std::fflush(stdout);
}

void LiveView::draw_table(const SwarmPicture& picture) {
    // A line that wraps would break the count of lines to go back.
    const auto lines = lines_of(picture, terminal_columns());
    std::string output;
    if (lines_drawn_ > 0) output += fmt::format("\033[{}A", lines_drawn_);
    for (const auto& line : lines) output += "\r\033[2K" + line + "\n";
    for (int extra = static_cast<int>(lines.size()); extra < lines_drawn_; ++extra) output += "\r\033[2K\n";
    lines_drawn_ = std::max(lines_drawn_, static_cast<int>(lines.size()));
    std::fputs(output.c_str(), stdout);
}

void LiveView::print_news(const SwarmPicture& picture) {
    // Events that the deque has dropped were printed before: the newest are at its end.
    for (; events_printed_ < picture.events.size(); ++events_printed_)
        fmt::print("  {}\n", picture.events[events_printed_]);
    if (picture.step / 10 == step_printed_ / 10 && step_printed_ >= 0) return;
    step_printed_ = picture.step;
    fmt::print("step {}/{}  loss {}  {} elapsed, {} left  ", picture.step, picture.last_step,
               loss_text(picture.loss), human_time(picture.seconds),
               picture.remaining_seconds < 0 ? "?" : human_time(picture.remaining_seconds));
    for (const auto& peer : picture.peers)
        if (peer.alive && peer.share > 0) fmt::print(" {} {:.0f} %", peer.name, peer.share * 100);
    fmt::print("\n");
}

void LiveView::close() {
    lines_drawn_ = 0;
}

}  // namespace shoal::lab
