#include "shoal/lab/averaging_run.h"

#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <sstream>

#include "shoal/base/error.h"
#include "shoal/lab/averaging_worker.h"
#include "shoal/lab/child_process.h"
#include "shoal/lab/scratch_folder.h"
#include "shoal/lab/shaped_lines.h"

namespace shoal::lab {
namespace {

constexpr auto kLook = std::chrono::milliseconds(100);

std::vector<ShapedLine> lines_of(const AveragingTask& task) {
    std::vector<ShapedLine> lines;
    for (const AveragingPeer& peer : task.peers) lines.push_back({peer.megabits * 1e6, peer.megabits * 1e6});
    return lines;
}

std::string output_of(const std::filesystem::path& file) {
    std::ifstream input(file);
    return {std::istreambuf_iterator<char>(input), {}};
}

class RealRounds {
  public:
    explicit RealRounds(const AveragingTask& task)
        : task_(task), folder_("lab-averaging"), lines_(lines_of(task)), times_(task.peers.size()) {
        for (std::size_t rank = 0; rank < task.peers.size(); ++rank) {
            const std::filesystem::path output = folder_.path() / std::to_string(rank);
            const std::vector<std::string> words = {own_program().string(),
                                                    "lab",
                                                    "averaging-worker",
                                                    "--rank",
                                                    std::to_string(rank),
                                                    "--namespace",
                                                    std::to_string(lines_.descriptor(rank)),
                                                    "--task",
                                                    text_of(task)};
            children_.emplace_back(words, output);
            tails_.emplace_back(output);
        }
    }

    /// False if it was ended early.
    bool run(const RoundsProgress& progress) {
        while (!ended()) {
            for (std::size_t rank = 0; rank < tails_.size(); ++rank) read(rank);
            if (progress(rounds())) return false;
        }
        for (std::size_t rank = 0; rank < tails_.size(); ++rank) read(rank);
        return true;
    }

    std::vector<RoundTimes> slowest() const { return slowest_peers(times_); }

  private:
    /// Rounds that all have ended.
    std::size_t rounds() const {
        std::size_t least = times_.front().size();
        for (const auto& times : times_) least = std::min(least, times.size());
        return least;
    }

    void read(std::size_t rank) {
        for (const std::string& line : tails_[rank].new_lines()) {
            std::istringstream words(line);
            std::string first;
            RoundTimes times;
            if (words >> first && first == "round" &&
                words >> times.whole >> times.match >> times.reduce >> times.vote)
                times_[rank].push_back(times);
        }
    }

    /// Waits a little for the first that runs.
    bool ended() {
        ChildProcess* running = nullptr;
        for (std::size_t rank = 0; rank < children_.size(); ++rank) {
            const std::optional<ExitStatus> status = children_[rank].poll();
            if (!status && !running) running = &children_[rank];
            if (status && (status->signalled || status->code != 0))
                throw Error(ErrorKind::system, fmt::format("peer {} of the experiment failed ({}): {}", rank,
                                                           status->to_string(),
                                                           output_of(folder_.path() / std::to_string(rank))));
        }
        if (running) running->wait_until(std::chrono::steady_clock::now() + kLook);
        return running == nullptr;
    }

    const AveragingTask& task_;
    ScratchFolder folder_;
    ShapedLines lines_;
    std::vector<std::vector<RoundTimes>> times_;
    std::vector<LineTail> tails_;
    std::vector<ChildProcess> children_;  // last: ends first
};

}  // namespace

std::optional<std::vector<RoundTimes>> run_rounds(const AveragingTask& task, const RoundsProgress& progress) {
    RealRounds rounds(task);
    if (!rounds.run(progress)) return std::nullopt;
    return rounds.slowest();
}

}  // namespace shoal::lab
