// What a person sees while a swarm trains: one table that redraws itself on a terminal, or plain lines
// elsewhere.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace shoal::lab {

struct PeerRow {
    std::string name, role;
    std::string state;  ///< "training", "starting", "killed", "finished", ...
    std::int64_t step = 0;
    double samples_per_second = 0;
    double share = 0;  ///< of all samples of the last steps, in [0, 1]
    double loss = 0;   ///< 0: none yet
    std::uint64_t bytes_sent = 0, bytes_received = 0;
    bool alive = true;
};

struct SwarmPicture {
    std::string title;
    std::int64_t step = 0, last_step = 0;
    double loss = 0, held_out_loss = 0;         ///< 0: none yet
    double seconds = 0, remaining_seconds = 0;  ///< remaining < 0: not known yet
    double batch_fill = 0;                      ///< of the batch that is being collected, in [0, 1]
    std::vector<PeerRow> peers;
    std::vector<double> loss_curve;  ///< for the small curve; one value a step
    std::deque<std::string> events;  ///< newest last
};

/// Draws to standard output. On a terminal each draw replaces the last one; elsewhere only new events and
/// every tenth step are printed.
class LiveView {
  public:
    /// @param redraw  false: plain lines even on a terminal.
    explicit LiveView(bool redraw);
    void draw(const SwarmPicture& picture);
    /// Leaves the last picture standing.
    void close();

  private:
    void draw_table(const SwarmPicture& picture);
    void print_news(const SwarmPicture& picture);

    bool redraw_;
    int lines_drawn_ = 0;
    std::size_t events_printed_ = 0;
    std::int64_t step_printed_ = -1;
};

/// "1.2 MB", "870 B".
std::string human_bytes(double bytes);
/// "2:05".
std::string human_time(double seconds);
/// The beginning of a line (UTF-8, with colours) that takes at most so many columns of a terminal; all of its
/// colours.
std::string fit_columns(std::string_view line, std::size_t columns);
/// A curve as block characters, `width` wide: falls from left to right when the values do.
std::string spark_line(const std::vector<double>& values, std::size_t width);

}  // namespace shoal::lab
