// Directories with real UDP sockets on loopback.
#pragma once

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/dht/opendht_directory.h"

namespace shoal::dht {

using namespace std::chrono_literals;
using Values = std::vector<std::string>;

/// Directories in one process, on one thread.
class Swarm {
  public:
    ~Swarm() {
        for (const auto& node : nodes) node->shut_down();
        context.restart();
        context.poll();
    }

    std::shared_ptr<OpenDhtDirectory> add(const std::vector<std::shared_ptr<OpenDhtDirectory>>& known = {}) {
        OpenDhtSettings settings = make_settings();
        for (const auto& node : known) settings.bootstrap.push_back({"127.0.0.1", node->port()});
        return add(settings);
    }

    std::shared_ptr<OpenDhtDirectory> add(OpenDhtSettings settings) {
        auto key = std::make_shared<KeyPair>(KeyPair::generate());
        nodes.push_back(
            make_opendht_directory(context.get_executor(), clock, key, std::move(settings), Log()));
        return nodes.back();
    }

    static OpenDhtSettings make_settings() {
        OpenDhtSettings settings;
        settings.run = "test";
        settings.listen_host = "127.0.0.1";
        settings.limit_rate = false;
        settings.refuse_foreign_types = false;
        return settings;
    }

    template <typename T>
    T run(awaitable<T> work) {
        std::exception_ptr error;
        std::optional<T> result;
        bool ended = false;
        asio::co_spawn(context, std::move(work), [&](std::exception_ptr failure, T value) {
            error = failure;
            result = std::move(value);
            ended = true;
        });
        context.restart();
        while (!ended) context.run_one();
        if (error) std::rethrow_exception(error);
        return std::move(*result);
    }

    void run(awaitable<void> work) {
        std::exception_ptr error;
        bool ended = false;
        asio::co_spawn(context, std::move(work), [&](std::exception_ptr failure) {
            error = failure;
            ended = true;
        });
        context.restart();
        while (!ended) context.run_one();
        if (error) std::rethrow_exception(error);
    }

    /// Runs until the condition holds; false after 20 s.
    bool wait_until(const std::function<bool()>& condition) {
        const auto deadline = std::chrono::steady_clock::now() + 20s;
        context.restart();
        while (!condition()) {
            if (std::chrono::steady_clock::now() > deadline) return false;
            context.run_one_for(50ms);
        }
        return true;
    }

    bool wait_for_nodes(std::size_t others) {
        return wait_until([&] {
            for (const auto& node : nodes)
                if (node->status().nodes < others) return false;
            return true;
        });
    }

    void publish(OpenDhtDirectory& directory, const std::string& value, Duration life = 60s,
                 const std::string& key = "test/key") {
        run(directory.publish(key, "", to_bytes(value), life));
    }
    Values read(OpenDhtDirectory& directory, const std::string& key = "test/key") {
        Values values;
        for (const Record& record : run(directory.read(key))) values.emplace_back(as_text(record.value));
        std::sort(values.begin(), values.end());
        return values;
    }

    asio::io_context context;
    RealClock clock;
    std::vector<std::shared_ptr<OpenDhtDirectory>> nodes;
};

}  // namespace shoal::dht
