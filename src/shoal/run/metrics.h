// What a peer tells of itself: every event as a line of JSON in a file, and running figures as Prometheus
// metrics.
#pragma once

#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "shoal/base/clock.h"
#include "shoal/base/log.h"
#include "shoal/collective/training_peer.h"
#include "shoal/net/network.h"
#include "shoal/run/prometheus.h"

namespace shoal::run {

/// Why a round failed, as one of few words: for counting, where texts would be endless.
///   peer_lost          a member died, stood still or could not be reached
///   not_finite         a member contributed numbers that are not finite
///   different_results  members held different results
///   no_group           no round came about
///   cut_off            this peer reached no majority of the round's members
std::string_view cause_word(const collective::Verdict& verdict);

/// The file of metrics grows to this size; then it becomes the older one, and what was the older one goes.
inline constexpr std::uint64_t kMaximumMetricsBytes = std::uint64_t{64} << 20;

/// Observes one peer's training. Thread: the protocol thread; text() from any.
///
/// The file has one JSON object a line, flushed each, with "time" (seconds since 1970) and "event":
///   micro_batch   step, micro_batches, samples, loss, seconds, dropped, samples_per_second: the first, and
///                 then sums and the mean loss of all since the last such line; one a second at most, and one
///                 before each step
///   round         step, attempt, outcome, cause, members [{peer, role, weight}], lost, digest,
///   match_seconds,
///                 reduce_seconds, vote_seconds, bytes_sent, bytes_received
///   step          step, loss, swarm_loss, samples (of all contributors), seconds, digest
///   held_out      step, loss
///   synchronised  step, bytes, seconds, donors
///   trouble       kind, text
/// Trouble that repeats itself word by word is written once between two steps.
///
/// And those that note() adds:
///   started       run, name, peer, role, port, metrics_port
///   model         model: what it is, in words
///   resumed       step, digest
///   peer          peer, state: connected, left (it said goodbye) or lost; cause of the last two
///   stopped       nothing
/// Numbers that are not finite are null.
class Metrics final : public collective::TrainingObserver {
  public:
    /// @param file  appended to; empty: no file. @param maximum_bytes  where "x.jsonl" becomes "x.old.jsonl".
    /// Throws Error(system) if it cannot be opened.
    Metrics(const std::filesystem::path& file, Clock& clock, Log log,
            std::uint64_t maximum_bytes = kMaximumMetricsBytes);
    ~Metrics() override;

    void on_micro_batch(const collective::MicroBatchResult& result, const collective::Progress& own) override;
    void on_round(Step step, const collective::Verdict& verdict) override;
    void on_step(Step step, double loss, double swarm_loss, double step_seconds,
                 const Fingerprint& digest) override;
    void on_held_out_loss(Step step, double loss) override;
    void on_synchronised(Step step, const collective::DownloadReport& report) override;
    void on_trouble(ErrorKind kind, const std::string& text) override;

    /// Name and value of the fields of an event.
    using Fields = std::vector<std::pair<std::string, std::variant<std::string, std::int64_t>>>;
    /// An event of another kind.
    void note(const std::string& event, const Fields& fields);

    /// Bytes on the wire and connections, from the network's own books; called from time to time.
    void update_network(const std::vector<net::ConnectionInfo>& connections);
    /// Peers with a live record.
    void update_swarm(const collective::SwarmView& view);

    const MetricsTable& table() const { return table_; }

  private:
    struct Line;
    void write(Line line);
    void rotate();
    void write_micro_batches();
    void fail();

    /// Micro-batches since the last line about them.
    struct MicroBatches {
        std::int64_t count = 0, samples = 0, dropped = 0;
        double loss_sum = 0, seconds = 0;
        collective::Progress own;  ///< as of the last
    };

    std::ofstream file_;
    std::filesystem::path file_name_;
    std::uint64_t maximum_bytes_, bytes_ = 0;
    bool file_failed_ = false;
    MicroBatches micro_batches_;
    std::optional<TimePoint> micro_batches_written_at_;
    std::string trouble_;       ///< written last
    double round_samples_ = 0;  ///< of the last averaged round
    Clock& clock_;
    Log log_;
    MetricsTable table_;
};

/// Hands every event to several observers, in order. They must outlive it.
class ObserverList final : public collective::TrainingObserver {
  public:
    void add(collective::TrainingObserver& observer) { observers_.push_back(&observer); }

    void on_micro_batch(const collective::MicroBatchResult& result, const collective::Progress& own) override;
    void on_round(Step step, const collective::Verdict& verdict) override;
    void on_step(Step step, double loss, double swarm_loss, double step_seconds,
                 const Fingerprint& digest) override;
    void on_held_out_loss(Step step, double loss) override;
    void on_synchronised(Step step, const collective::DownloadReport& report) override;
    void on_trouble(ErrorKind kind, const std::string& text) override;

  private:
    std::vector<collective::TrainingObserver*> observers_;
};

}  // namespace shoal::run
