#include "shoal/run/metrics.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "shoal/base/error.h"

namespace shoal::run {
namespace {

using nlohmann::ordered_json;
using Type = MetricsTable::Type;

ordered_json finite(double number) {
    return std::isfinite(number) ? ordered_json(number) : ordered_json(nullptr);
}

void declare_all(MetricsTable& table) {
    table.declare("shoal_step", Type::gauge, "Steps that this peer's parameters have taken.");
    table.declare("shoal_loss", Type::gauge, "Mean loss of this peer's micro-batches of the last step.");
    table.declare("shoal_swarm_loss", Type::gauge, "Mean loss of all contributors of the last step.");
    table.declare("shoal_held_out_loss", Type::gauge, "Loss on held-out data when last evaluated.");
    table.declare("shoal_samples_total", Type::counter, "Samples this peer has computed.");
    table.declare("shoal_samples_per_second", Type::gauge, "Smoothed speed of this peer.");
    table.declare("shoal_dropped_micro_batches_total", Type::counter,
                  "Micro-batches whose gradients were not finite.");
    table.declare("shoal_step_seconds", Type::gauge, "Duration of the last step.");
    table.declare("shoal_rounds_total", Type::counter, "Averaging rounds by outcome.");
    table.declare("shoal_round_seconds", Type::gauge, "Duration of the last round by phase.");
    table.declare("shoal_round_seconds_total", Type::counter, "Time spent in rounds by phase.");
    table.declare("shoal_round_bytes_total", Type::counter, "Payload of averaging rounds by direction.");
    table.declare("shoal_group_members", Type::gauge, "Members of the last round.");
    table.declare("shoal_state_bytes_total", Type::counter, "State downloaded from others.");
    table.declare("shoal_failures_total", Type::counter, "Trouble by cause.");
    table.declare("shoal_network_bytes", Type::gauge,
                  "Bytes on the wire of the live connections, by direction.");
    table.declare("shoal_connections", Type::gauge, "Live connections.");
    table.declare("shoal_peers", Type::gauge, "Peers in the run that this peer knows to be alive.");
    table.declare("shoal_swarm_samples_per_second", Type::gauge, "Speed of the whole swarm.");
}

}  // namespace

struct Metrics::Line {
    explicit Line(const char* event) { fields["event"] = event; }
    ordered_json fields;
};

Metrics::Metrics(const std::filesystem::path& file, Clock& clock, Log log)
    : file_name_(file.string()), clock_(clock), log_(std::move(log)) {
    declare_all(table_);
    if (file.empty()) return;
    file_.open(file, std::ios::app);
    if (!file_) throw Error(ErrorKind::system, "cannot write the metrics file " + file.string());
}

Metrics::~Metrics() = default;

void Metrics::write(Line line) {
    if (!file_.is_open() || file_failed_) return;
    ordered_json whole;
    const auto now = clock_.wall_now().time_since_epoch();
    whole["time"] = static_cast<double>(now.count()) / 1000.0;
    whole.update(line.fields);
    // Texts may come from other peers: what is no UTF-8 is replaced, never thrown for.
    file_ << whole.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << '\n';
    file_.flush();
    if (!file_) {
        file_failed_ = true;
        log_.error("cannot write " + file_name_ + " any more (disk full?); metrics go on without it");
    }
}

void Metrics::on_micro_batch(const collective::MicroBatchResult& result, const collective::Progress& own) {
    table_.add("shoal_samples_total", static_cast<double>(value(result.samples)));
    table_.set("shoal_samples_per_second", own.samples_per_second);
    if (result.dropped) table_.add("shoal_dropped_micro_batches_total", 1);
    Line line("micro_batch");
    line.fields["step"] = value(own.step);
    line.fields["samples"] = value(result.samples);
    line.fields["loss"] = finite(result.loss);
    line.fields["seconds"] = finite(result.seconds);
    line.fields["dropped"] = result.dropped;
    line.fields["samples_per_second"] = finite(own.samples_per_second);
    write(std::move(line));
}

void Metrics::on_round(Step step, const collective::Verdict& verdict) {
    const collective::RoundReport& report = verdict.report;
    const std::string outcome(to_string(verdict.outcome));
    table_.add("shoal_rounds_total", 1, {{"outcome", outcome}});
    const std::pair<const char*, double> phases[] = {
        {"match", report.match_seconds}, {"reduce", report.reduce_seconds}, {"vote", report.vote_seconds}};
    for (const auto& [phase, duration] : phases) {
        table_.set("shoal_round_seconds", duration, {{"phase", phase}});
        table_.add("shoal_round_seconds_total", duration, {{"phase", phase}});
    }
    table_.add("shoal_round_bytes_total", static_cast<double>(report.bytes_sent), {{"direction", "up"}});
    table_.add("shoal_round_bytes_total", static_cast<double>(report.bytes_received),
               {{"direction", "down"}});
    if (!verdict.contributors.empty())
        table_.set("shoal_group_members", static_cast<double>(verdict.contributors.size()));

    Line line("round");
    line.fields["step"] = value(step);
    line.fields["attempt"] = verdict.attempt;
    line.fields["outcome"] = outcome;
    line.fields["cause"] = verdict.cause;
    line.fields["members"] = ordered_json::array();
    for (const collective::Contributor& member : verdict.contributors) {
        line.fields["members"].push_back({{"peer", member.peer.short_name()},
                                          {"role", std::string(to_string(member.role))},
                                          {"weight", finite(member.weight)}});
    }
    line.fields["lost"] = ordered_json::array();
    for (const PeerId& lost : verdict.lost) line.fields["lost"].push_back(lost.short_name());
    line.fields["digest"] = verdict.digest.hex();
    line.fields["match_seconds"] = finite(report.match_seconds);
    line.fields["reduce_seconds"] = finite(report.reduce_seconds);
    line.fields["vote_seconds"] = finite(report.vote_seconds);
    line.fields["bytes_sent"] = report.bytes_sent;
    line.fields["bytes_received"] = report.bytes_received;
    write(std::move(line));
}

void Metrics::on_step(Step step, double loss, double swarm_loss, double step_seconds,
                      const Fingerprint& digest) {
    table_.set("shoal_step", static_cast<double>(value(step)));
    table_.set("shoal_loss", loss);
    table_.set("shoal_swarm_loss", swarm_loss);
    table_.set("shoal_step_seconds", step_seconds);
    Line line("step");
    line.fields["step"] = value(step);
    line.fields["loss"] = finite(loss);
    line.fields["swarm_loss"] = finite(swarm_loss);
    line.fields["seconds"] = finite(step_seconds);
    line.fields["digest"] = digest.hex();
    write(std::move(line));
}

void Metrics::on_held_out_loss(Step step, double loss) {
    table_.set("shoal_held_out_loss", loss);
    Line line("held_out");
    line.fields["step"] = value(step);
    line.fields["loss"] = finite(loss);
    write(std::move(line));
}

void Metrics::on_synchronised(Step step, const collective::DownloadReport& report) {
    table_.set("shoal_step", static_cast<double>(value(step)));
    table_.add("shoal_state_bytes_total", static_cast<double>(report.bytes));
    Line line("synchronised");
    line.fields["step"] = value(step);
    line.fields["bytes"] = report.bytes;
    line.fields["seconds"] = finite(report.seconds);
    line.fields["donors"] = ordered_json::array();
    for (const PeerId& donor : report.donors) line.fields["donors"].push_back(donor.short_name());
    write(std::move(line));
}

void Metrics::on_trouble(ErrorKind kind, const std::string& text) {
    const std::string cause(to_string(kind));
    table_.add("shoal_failures_total", 1, {{"cause", cause}});
    Line line("trouble");
    line.fields["kind"] = cause;
    line.fields["text"] = text;
    write(std::move(line));
}

void Metrics::note(const std::string& event, const std::vector<std::pair<std::string, std::string>>& fields) {
    Line line(event.c_str());
    for (const auto& [name, text] : fields) line.fields[name] = text;
    write(std::move(line));
}

void Metrics::update_network(const std::vector<net::ConnectionInfo>& connections) {
    double sent = 0, received = 0;
    for (const net::ConnectionInfo& one : connections) {
        sent += static_cast<double>(one.bytes_sent);
        received += static_cast<double>(one.bytes_received);
    }
    table_.set("shoal_connections", static_cast<double>(connections.size()));
    table_.set("shoal_network_bytes", sent, {{"direction", "up"}});
    table_.set("shoal_network_bytes", received, {{"direction", "down"}});
}

void Metrics::update_swarm(const collective::SwarmView& view) {
    table_.set("shoal_peers", static_cast<double>(view.peers));
    table_.set("shoal_swarm_samples_per_second", view.samples_per_second);
}

void ObserverList::on_micro_batch(const collective::MicroBatchResult& result,
                                  const collective::Progress& own) {
    for (auto* observer : observers_) observer->on_micro_batch(result, own);
}
void ObserverList::on_round(Step step, const collective::Verdict& verdict) {
    for (auto* observer : observers_) observer->on_round(step, verdict);
}
void ObserverList::on_step(Step step, double loss, double swarm_loss, double step_seconds,
                           const Fingerprint& digest) {
    for (auto* observer : observers_) observer->on_step(step, loss, swarm_loss, step_seconds, digest);
}
void ObserverList::on_held_out_loss(Step step, double loss) {
    for (auto* observer : observers_) observer->on_held_out_loss(step, loss);
}
void ObserverList::on_synchronised(Step step, const collective::DownloadReport& report) {
    for (auto* observer : observers_) observer->on_synchronised(step, report);
}
void ObserverList::on_trouble(ErrorKind kind, const std::string& text) {
    for (auto* observer : observers_) observer->on_trouble(kind, text);
}

}  // namespace shoal::run
