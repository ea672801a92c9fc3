// A few numbers in Prometheus' text format, and the HTTP page that serves them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace shoal::run {

/// Named numbers with labels. Safe from any thread.
class MetricsTable {
  public:
    enum class Type { gauge, counter };
    using Labels = std::vector<std::pair<std::string, std::string>>;

    /// Declares a metric; its samples follow. Names as Prometheus wants them: [a-z_]+, counters end in
    /// _total.
    void declare(const std::string& name, Type type, const std::string& help);
    void set(const std::string& name, double value, const Labels& labels = {});
    void add(const std::string& name, double amount, const Labels& labels = {});
    /// 0 if never set.
    double get(const std::string& name, const Labels& labels = {}) const;

    /// Exposition format 0.0.4: HELP, TYPE, then a line a sample, in the order of declaration.
    std::string text() const;

  private:
    struct Metric {
        Type type = Type::gauge;
        std::string help;
        std::map<std::string, double> samples;  ///< by rendered labels
    };
    static std::string render(const Labels& labels);

    mutable std::mutex mutex_;
    std::vector<std::string> order_;
    std::map<std::string, Metric> metrics_;
};

/// Serves GET /metrics on a thread of its own until destroyed.
class MetricsServer {
  public:
    /// @param port  0: any free one. @param page  makes the text; called on the server's threads.
    /// Throws Error(system) naming host and port if it cannot listen there.
    MetricsServer(const std::string& host, std::uint16_t port, std::function<std::string()> page);
    ~MetricsServer();
    std::uint16_t port() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace shoal::run
