// What a peer tells of itself: every event as a line of JSON in a file, and running figures as Prometheus
// metrics.
#pragma once

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "shoal/base/clock.h"
#include "shoal/base/log.h"
#include "shoal/collective/training_peer.h"
#include "shoal/net/network.h"
#include "shoal/run/prometheus.h"

namespace shoal::run {

/// Observes one peer's training. Thread: the protocol thread; text() from any.
///
/// The file has one JSON object a line, flushed each, with "time" (seconds since 1970) and "event":
///   micro_batch   step, samples, loss, seconds, dropped, samples_per_second
///   round         step, attempt, outcome, cause, members [{peer, role, weight}], lost, digest,
///   match_seconds,
///                 reduce_seconds, vote_seconds, bytes_sent, bytes_received
///   step          step, loss, swarm_loss, seconds, digest
///   held_out      step, loss
///   synchronised  step, bytes, seconds, donors
///   trouble       kind, text
/// and those that note() adds ("started", "model", "resumed", "peer", "stopped"). Numbers that are not finite
/// are null.
class Metrics final : public collective::TrainingObserver {
  public:
    /// @param file  appended to; empty: no file. Throws Error(system) if it cannot be opened.
    Metrics(const std::filesystem::path& file, Clock& clock, Log log);
    ~Metrics() override;

    void on_micro_batch(const collective::MicroBatchResult& result, const collective::Progress& own) override;
    void on_round(Step step, const collective::Verdict& verdict) override;
    void on_step(Step step, double loss, double swarm_loss, double step_seconds,
                 const Fingerprint& digest) override;
    void on_held_out_loss(Step step, double loss) override;
    void on_synchronised(Step step, const collective::DownloadReport& report) override;
    void on_trouble(ErrorKind kind, const std::string& text) override;

    /// An event of another kind. @param fields  name and value; all values are texts.
    void note(const std::string& event, const std::vector<std::pair<std::string, std::string>>& fields);

    /// Bytes on the wire and connections, from the network's own books; called from time to time.
    void update_network(const std::vector<net::ConnectionInfo>& connections);
    /// Peers with a live record.
    void update_swarm(const collective::SwarmView& view);

    const MetricsTable& table() const { return table_; }

  private:
    struct Line;
    void write(Line line);

    std::ofstream file_;
    std::string file_name_;
    bool file_failed_ = false;
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
