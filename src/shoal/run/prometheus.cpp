#include "shoal/run/prometheus.h"

#include <atomic>
#include <cmath>
#include <fmt/format.h>
#include <httplib.h>
#include <thread>

#include "shoal/base/error.h"

namespace shoal::run {
namespace {

/// As the exposition format wants label values (and, but for the quote, help texts) escaped.
std::string escaped(const std::string& text) {
    std::string result;
    for (const char c : text) {
        if (c == '\\')
            result += "\\\\";
        else if (c == '"')
            result += "\\\"";
        else if (c == '\n')
            result += "\\n";
        else
            result += c;
    }
    return result;
}

std::string number_text(double number) {
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number > 0 ? "+Inf" : "-Inf";
    return fmt::format("{}", number);
}

}  // namespace

void MetricsTable::declare(const std::string& name, Type type, const std::string& help) {
    const std::lock_guard lock(mutex_);
    if (!metrics_.contains(name)) order_.push_back(name);
    metrics_[name] = Metric{.type = type, .help = help, .samples = {}};
}

std::string MetricsTable::render(const Labels& labels) {
    std::string text;
    for (const auto& [key, value] : labels)
        text += fmt::format("{}{}=\"{}\"", text.empty() ? "" : ",", key, escaped(value));
    return text.empty() ? text : "{" + text + "}";
}

void MetricsTable::set(const std::string& name, double value, const Labels& labels) {
    const std::string rendered = render(labels);
    const std::lock_guard lock(mutex_);
    metrics_.at(name).samples[rendered] = value;
}

void MetricsTable::add(const std::string& name, double amount, const Labels& labels) {
    const std::string rendered = render(labels);
    const std::lock_guard lock(mutex_);
    metrics_.at(name).samples[rendered] += amount;
}

double MetricsTable::get(const std::string& name, const Labels& labels) const {
    const std::string rendered = render(labels);
    const std::lock_guard lock(mutex_);
    const auto& samples = metrics_.at(name).samples;
    const auto found = samples.find(rendered);
    return found == samples.end() ? 0 : found->second;
}

std::string MetricsTable::text() const {
    const std::lock_guard lock(mutex_);
    std::string page;
    for (const std::string& name : order_) {
        const Metric& metric = metrics_.at(name);
        page += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, metric.help, name,
                            metric.type == Type::counter ? "counter" : "gauge");
        for (const auto& [labels, value] : metric.samples)
            page += fmt::format("{}{} {}\n", name, labels, number_text(value));
    }
    return page;
}

struct MetricsServer::State {
    httplib::Server server;
    std::thread thread;
    std::atomic<bool> ended = false;
    std::uint16_t port = 0;
};

MetricsServer::MetricsServer(const std::string& host, std::uint16_t port, std::function<std::string()> page)
    : state_(std::make_unique<State>()) {
    httplib::Server& server = state_->server;
    // A page of a few kilobytes, asked for every few seconds: two threads are plenty, and slow clients must
    // not pile up.
    server.new_task_queue = [] { return new httplib::ThreadPool(2); };
    server.set_read_timeout(2);
    server.set_write_timeout(2);
    server.set_payload_max_length(64 * 1024);
    // The library's default would share the port with whoever listens there already (SO_REUSEPORT).
    server.set_socket_options([](socket_t socket) {
        const int yes = 1;
        ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    server.Get("/metrics", [page = std::move(page)](const httplib::Request&, httplib::Response& response) {
        response.set_content(page(), "text/plain; version=0.0.4; charset=utf-8");
    });
    server.Get("/", [](const httplib::Request&, httplib::Response& response) {
        response.set_content("Shoal: see /metrics\n", "text/plain; charset=utf-8");
    });
    int bound = -1;
    if (port == 0)
        bound = server.bind_to_any_port(host);
    else if (server.bind_to_port(host, port))
        bound = port;
    if (bound <= 0)
        throw Error(ErrorKind::system,
                    fmt::format("cannot serve metrics on {}:{}: is the port taken? Choose another with "
                                "--metrics-port (0: any free one, -1: none)",
                                host, port));
    state_->port = static_cast<std::uint16_t>(bound);
    state_->thread = std::thread([state = state_.get()] {
        state->server.listen_after_bind();
        state->ended = true;
    });
}

MetricsServer::~MetricsServer() {
    // stop() does nothing before the thread has begun to listen; that takes microseconds.
    while (!state_->server.is_running() && !state_->ended) std::this_thread::yield();
    state_->server.stop();
    state_->thread.join();
}

std::uint16_t MetricsServer::port() const {
    return state_->port;
}

}  // namespace shoal::run
