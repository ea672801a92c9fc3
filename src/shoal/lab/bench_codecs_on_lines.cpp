#include "shoal/lab/bench_codecs_on_lines.h"

#include <algorithm>
#include <fmt/format.h>

#include "shoal/compress/codec.h"
#include "shoal/lab/all_reduce_case.h"
#include "shoal/lab/averaging_run.h"
#include "shoal/lab/averaging_simulation.h"
#include "shoal/lab/median.h"
#include "shoal/run/progress_line.h"

namespace shoal::lab {

namespace {

struct LineRow {
    int peers = 0;
    std::size_t bytes = 0;
    std::string codec;
    double wire_bytes = 0;  ///< that each peer sends, and receives
    double seconds = 0;     ///< median round, slowest peer
    double line_seconds = 0;
};

AveragingTask task_of(const BenchAllReduceOptions& options, int peers, std::size_t bytes,
                      const std::string& codec) {
    AveragingTask task;
    AveragingPeer peer;
    peer.megabits = options.megabits;
    peer.claim = options.megabits * 1e6 / 8 * kDelivered;
    task.peers.assign(static_cast<std::size_t>(peers), peer);
    task.elements = std::max<std::size_t>(1, bytes / sizeof(float));
    task.rounds = options.rounds;
    task.codec = codec;
    return task;
}

class LineBench {
  public:
    explicit LineBench(const BenchAllReduceOptions& options) : options_(options) {}

    int run() {
        fmt::print(
            "all-reduce of an fp32 vector among processes with TLS, each behind a line of {:g} Mbit/s both "
            "ways, median of {} rounds\n",
            options_.megabits, options_.rounds - 1);
        fmt::print("{:>5} {:>9} {:<12} {:>9} {:>9} {:>13} {:>7} {:>14}\n", "peers", "size", "codec",
                   "MB sent", "seconds", "line's limit", "ratio", "fp32's seconds");
        const double cases =
            static_cast<double>(options_.peers.size() * options_.bytes.size() * options_.codecs.size());
        for (const int peers : options_.peers)
            for (const std::size_t bytes : options_.bytes)
                for (const std::string& codec : options_.codecs) {
                    measure(peers, bytes, codec, cases);
                    print(rows_.back());
                }
        return report();
    }

  private:
    void measure(int peers, std::size_t bytes, const std::string& codec, double cases) {
        const AveragingTask task = task_of(options_, peers, bytes, codec);
        const auto show = [&](std::size_t rounds) {
            const double part = static_cast<double>(rounds) / task.rounds;
            line_.show((static_cast<double>(rows_.size()) + part) / cases,
                       fmt::format("{} peers, {}, {}", peers, size_text(bytes), codec));
            return false;
        };
        const auto rounds = run_rounds(task, show);
        line_.clear();
        std::vector<double> times;
        for (std::size_t i = 1; i < rounds->size(); ++i) times.push_back((*rounds)[i].whole);
        LineRow row{peers, bytes, codec, 0, median(times), 0};
        const auto encoded = static_cast<double>(compress::make_codec(codec)->encoded_size(task.elements));
        row.wire_bytes = encoded * 2 * (peers - 1) / peers;
        row.line_seconds = row.wire_bytes * 8 / (options_.megabits * 1e6 * kDelivered);
        rows_.push_back(row);
    }

    const LineRow* with_fp32(const LineRow& row) const {
        for (const LineRow& other : rows_)
            if (other.peers == row.peers && other.bytes == row.bytes && other.codec == "fp32") return &other;
        return nullptr;
    }

    void print(const LineRow& row) const {
        const LineRow* fp32 = with_fp32(row);
        fmt::print("{:>5} {:>9} {:<12} {:>9.3f} {:>9.3f} {:>13.3f} {:>7.2f} {:>14}\n", row.peers,
                   size_text(row.bytes), row.codec, row.wire_bytes / 1e6, row.seconds, row.line_seconds,
                   row.seconds / row.line_seconds,
                   fp32 ? fmt::format("{:.2f} x ours", fp32->seconds / row.seconds) : "");
        std::fflush(stdout);
    }

    int report() {
        run::Result result("bench allreduce on lines", options_.result);
        result.json()["megabits"] = options_.megabits;
        for (const LineRow& row : rows_) {
            result.json()["rows"].push_back({{"peers", row.peers},
                                             {"bytes", row.bytes},
                                             {"codec", row.codec},
                                             {"bytes_sent_by_each", row.wire_bytes},
                                             {"seconds", row.seconds},
                                             {"line_seconds", row.line_seconds}});
            const LineRow* fp32 = with_fp32(row);
            if (!fp32 || fp32 == &row) continue;
            // What the codec saves in bytes it must save in time, but for a third.
            const double saved = fp32->wire_bytes / row.wire_bytes;
            result.demand_at_least(fmt::format("{} peers, {}, {}: times faster than fp32", row.peers,
                                               size_text(row.bytes), row.codec),
                                   fp32->seconds / row.seconds, 1 + (saved - 1) * 2 / 3);
        }
        return result.finish();
    }

    const BenchAllReduceOptions options_;
    std::vector<LineRow> rows_;
    run::ProgressLine line_;
};

}  // namespace

int bench_codecs_on_lines(const BenchAllReduceOptions& options) {
    return LineBench(options).run();
}

}  // namespace shoal::lab
