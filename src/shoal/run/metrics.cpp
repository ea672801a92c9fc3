#include "shoal/run/metrics.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "shoal/base/error.h"

namespace shoal::run {
namespace {

using nlohmann::ordered_json;
using Type = MetricsTable::Type;

constexpr const char *kPeerLost = "peer_lost", *kNotFinite = "not_finite",
                     *kDifferentResults = "different_results", *kNoGroup = "no_group", *kCutOff = "cut_off";
constexpr Duration kMicroBatchInterval = std::chrono::seconds(1);

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
    table.declare("shoal_failures_total", Type::counter, "Rounds that failed, and other trouble, by cause.");
    table.declare("shoal_network_bytes", Type::gauge,
                  "Bytes on the wire of the live connections, by direction.");
    table.declare("shoal_connections", Type::gauge, "Live connections.");
    table.declare("shoal_peers", Type::gauge, "Peers in the run that this peer knows to be alive.");
    table.declare("shoal_swarm_samples_per_second", Type::gauge, "Speed of the whole swarm.");
}

/// A word for labels: without blanks.
std::string label(collective::Verdict::Outcome outcome) {
    std::string word(to_string(outcome));
    std::replace(word.begin(), word.end(), ' ', '_');
    return word;
}

/// A counter that is not there until something fails cannot be watched.
void start_at_zero(MetricsTable& table) {
    using Outcome = collective::Verdict::Outcome;
    for (const Outcome outcome : {Outcome::averaged, Outcome::failed, Outcome::cut_off})
        table.add("shoal_rounds_total", 0, {{"outcome", label(outcome)}});
    for (const char* cause : {kPeerLost, kNotFinite, kDifferentResults, kNoGroup, kCutOff})
        table.add("shoal_failures_total", 0, {{"cause", cause}});
    for (const ErrorKind kind : {ErrorKind::bad_input, ErrorKind::unreachable, ErrorKind::timed_out,
                                 ErrorKind::connection_lost, ErrorKind::corrupted})
        table.add("shoal_failures_total", 0, {{"cause", std::string(to_string(kind))}});
    for (const char* counter :
         {"shoal_samples_total", "shoal_dropped_micro_batches_total", "shoal_state_bytes_total"})
        table.add(counter, 0);
    for (const char* phase : {"match", "reduce", "vote"})
        table.add("shoal_round_seconds_total", 0, {{"phase", phase}});
    for (const char* direction : {"up", "down"})
        table.add("shoal_round_bytes_total", 0, {{"direction", direction}});
}

}  // namespace

std::string_view cause_word(const collective::Verdict& verdict) {
    if (verdict.outcome == collective::Verdict::Outcome::cut_off) return kCutOff;
    const auto says = [&verdict](const char* words) {
        return verdict.cause.find(words) != std::string::npos;
    };
    if (says("not finite")) return kNotFinite;
    if (says("different results")) return kDifferentResults;
    return verdict.contributors.empty() ? kNoGroup : kPeerLost;
}

struct Metrics::Line {
    explicit Line(const char* event) { fields["event"] = event; }
    ordered_json fields;
};

Metrics::Metrics(const std::filesystem::path& file, Clock& clock, Log log, std::uint64_t maximum_bytes)
    : file_name_(file), maximum_bytes_(maximum_bytes), clock_(clock), log_(std::move(log)) {
    declare_all(table_);
    start_at_zero(table_);
    if (file.empty()) return;
    file_.open(file, std::ios::app);
    if (!file_) throw Error(ErrorKind::system, "cannot write the metrics file " + file.string());
    std::error_code error;
    bytes_ = std::filesystem::file_size(file, error);
    if (error) bytes_ = 0;
}

Metrics::~Metrics() {
    write_micro_batches();
}

void Metrics::fail() {
    file_failed_ = true;
    log_.error("cannot write " + file_name_.string() + " any more (disk full?); metrics go on without it");
}

void Metrics::rotate() {
    file_.close();
    const std::string name = file_name_.stem().string() + ".old" + file_name_.extension().string();
    std::error_code error;
    std::filesystem::rename(file_name_, file_name_.parent_path() / name, error);
    file_.open(file_name_, std::ios::app);
    bytes_ = 0;
    if (error || !file_) fail();
}

void Metrics::write(Line line) {
    if (!file_.is_open() || file_failed_) return;
    ordered_json whole;
    const auto now = clock_.wall_now().time_since_epoch();
    whole["time"] = static_cast<double>(now.count()) / 1000.0;
    whole.update(line.fields);
    // Texts may come from other peers: what is no UTF-8 is replaced, never thrown for.
    const std::string text = whole.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + '\n';
    if (bytes_ > 0 && bytes_ + text.size() > maximum_bytes_) rotate();
    if (file_failed_) return;
    bytes_ += text.size();
    file_ << text;
    file_.flush();
    if (!file_) fail();
}

void Metrics::on_micro_batch(const collective::MicroBatchResult& result, const collective::Progress& own) {
    table_.add("shoal_samples_total", static_cast<double>(value(result.samples)));
    table_.set("shoal_samples_per_second", own.samples_per_second);
    if (result.dropped) table_.add("shoal_dropped_micro_batches_total", 1);
    MicroBatches& all = micro_batches_;
    ++all.count;
    all.dropped += result.dropped ? 1 : 0;
    all.seconds += result.seconds;
    all.own = own;
    if (!result.dropped) {
        all.samples += value(result.samples);
        all.loss_sum += result.loss * static_cast<double>(value(result.samples));
    }
    const bool due =
        !micro_batches_written_at_ || clock_.now() - *micro_batches_written_at_ >= kMicroBatchInterval;
    if (due) write_micro_batches();
}

void Metrics::write_micro_batches() {
    if (micro_batches_.count == 0) return;
    const MicroBatches all = std::exchange(micro_batches_, {});
    micro_batches_written_at_ = clock_.now();
    Line line("micro_batch");
    line.fields["step"] = value(all.own.step);
    line.fields["micro_batches"] = all.count;
    line.fields["samples"] = all.samples;
    line.fields["loss"] =
        all.samples > 0 ? finite(all.loss_sum / static_cast<double>(all.samples)) : ordered_json(nullptr);
    line.fields["seconds"] = finite(all.seconds);
    line.fields["dropped"] = all.dropped;
    line.fields["samples_per_second"] = finite(all.own.samples_per_second);
    write(std::move(line));
}

void Metrics::on_round(Step step, const collective::Verdict& verdict) {
    const collective::RoundReport& report = verdict.report;
    const std::string outcome = label(verdict.outcome);
    const bool averaged = verdict.outcome == collective::Verdict::Outcome::averaged;
    table_.add("shoal_rounds_total", 1, {{"outcome", outcome}});
    if (!averaged) table_.add("shoal_failures_total", 1, {{"cause", std::string(cause_word(verdict))}});
    const std::pair<const char*, double> phases[] = {
        {"match", report.match_seconds}, {"reduce", report.reduce_seconds}, {"vote", report.vote_seconds}};
    for (const auto& [phase, duration] : phases) {
        table_.set("shoal_round_seconds", duration, {{"phase", phase}});
        table_.add("shoal_round_seconds_total", duration, {{"phase", phase}});
    }
    table_.add("shoal_round_bytes_total", static_cast<double>(report.bytes_sent), {{"direction", "up"}});
    table_.add("shoal_round_bytes_total", static_cast<double>(report.bytes_received),
               {{"direction", "down"}});
    if (averaged) {
        round_samples_ = 0;
        for (const collective::Contributor& member : verdict.contributors) round_samples_ += member.weight;
    }
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
    trouble_.clear();
    write_micro_batches();
    Line line("step");
    line.fields["step"] = value(step);
    line.fields["loss"] = finite(loss);
    line.fields["swarm_loss"] = finite(swarm_loss);
    line.fields["samples"] = finite(round_samples_);
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
    if (text == trouble_) return;
    trouble_ = text;
    Line line("trouble");
    line.fields["kind"] = cause;
    line.fields["text"] = text;
    write(std::move(line));
}

void Metrics::note(const std::string& event, const Fields& fields) {
    if (event == "stopped") write_micro_batches();
    Line line(event.c_str());
    for (const auto& [name, value] : fields) {
        ordered_json& field = line.fields[name];
        std::visit([&field](const auto& one) { field = one; }, value);
    }
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
