#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "shoal/base/async.h"
#include "shoal/base/random.h"
#include "shoal/dht/opendht_directory.h"
#include "shoal/dht/remote_directory.h"
#include "shoal/run/bootstrap.h"
#include "shoal/run/doctor.h"
#include "shoal/run/node.h"
#include "shoal/run/probes.h"
#include "shoal/run/version.h"

namespace shoal::run {
namespace {

using namespace std::chrono_literals;
using enum Finding::Level;

/// The examination of one network: opens what a peer would open, and asks those who answer.
class Examination {
  public:
    Examination(const RunDefinition& definition, Log log) : definition_(definition), log_(std::move(log)) {}

    std::vector<Finding> run() {
        if (!listen()) return std::move(findings_);
        std::exception_ptr failure;
        asio::co_spawn(io_, examine(), [&](std::exception_ptr error) {
            failure = std::move(error);
            io_.stop();
        });
        io_.run();
        if (failure) std::rethrow_exception(failure);
        return std::move(findings_);
    }

  private:
    void say(Finding::Level level, std::string subject, std::string text, std::string advice = {}) {
        Finding finding;
        finding.level = level;
        finding.subject = std::move(subject);
        finding.text = std::move(text);
        finding.advice = std::move(advice);
        findings_.push_back(std::move(finding));
    }

    bool lacks_a_file() const {
        const auto lacks = [](const std::filesystem::path& file) {
            std::error_code error;
            return !file.empty() && !std::filesystem::is_regular_file(file, error);
        };
        return (definition_.data.kind == "text" && lacks(definition_.data.vocabulary)) ||
               (definition_.model.kind == "torchscript" && lacks(definition_.model.file));
    }

    /// The run's settings, so that a peer that has others says so in the handshake.
    net::AgreedSettings settings() {
        if (definition_.run.name.empty()) return {};
        try {
            return agreed_settings(definition_);
        } catch (const Error& error) {
            // That a file is not there has been said of the files.
            if (!lacks_a_file()) say(wrong, "run file", error.what());
            return {};
        }
    }

    bool listen() {
        net::NetworkSettings network;
        network.accept_connections = !definition_.network.client_mode;
        network.listen_host = definition_.network.listen_host;
        network.listen_port = static_cast<std::uint16_t>(definition_.network.listen_port);
        network.dial_timeout = std::min<Duration>(from_seconds(definition_.network.dial_timeout), 5s);
        network.agreed = settings();
        try {
            network_ = net::make_tcp_network(io_.get_executor(), clock_, KeyPair::generate(), network, log_);
        } catch (const Error& error) {
            say(wrong, "TCP port", error.what(),
                "another program listens there (a peer that runs already?): stop it, or choose another "
                "--port");
            return false;
        }
        if (definition_.network.client_mode) {
            say(note, "TCP port", "client mode: no connection is accepted, others must be dialled",
                "peers that can be reached help the swarm more");
            return true;
        }
        const std::uint16_t port = net::listen_port(*network_);
        say(fine, "TCP port",
            fmt::format("{}{}", port, definition_.network.listen_port == 0 ? " (any free one)" : " is free"));
        return definition_.network.directory == "through-peers" || open_udp(port);
    }

    bool open_udp(std::uint16_t port) {
        std::error_code error;
        udp_.open(asio::ip::udp::v4(), error);
        if (!error) udp_.bind(asio::ip::udp::endpoint(asio::ip::udp::v4(), port), error);
        if (!error) {
            say(fine, "UDP port", fmt::format("{} is free (for the directory)", port));
        } else {
            udp_.close(error);
            say(wrong, "UDP port", fmt::format("{} cannot be opened: {}", port, error.message()),
                "the directory needs the UDP port of the same number: choose another --port");
        }
        return true;
    }

    awaitable<void> examine() {
        std::vector<net::Endpoint> endpoints;
        for (const std::string& text : definition_.network.bootstrap)
            endpoints.push_back(net::Endpoint::parse(text));
        if (endpoints.empty()) {
            say(note, "bootstrap", "no addresses: this peer would start the run by itself",
                "to join others name one that is usually there: --bootstrap host:port");
        } else {
            Bootstrap bootstrap(*network_, clock_, Random::from_entropy(), std::move(endpoints), Log());
            bootstrap.start();
            co_await wait_for_all(bootstrap);
            const std::vector<BootstrapAddress> addresses = bootstrap.addresses();
            for (const BootstrapAddress& address : addresses) say_address(address);
            for (const BootstrapAddress& address : addresses)
                if (address.state == BootstrapAddress::State::connected) co_await ask(address.peer);
            if (!network_->connections().empty()) co_await try_directory();
            co_await bootstrap.stop();
        }
        co_await net::shut_down(network_);
    }

    /// Until every address has answered or failed; 8 seconds are enough for the slowest dial.
    awaitable<void> wait_for_all(Bootstrap& bootstrap) {
        const TimePoint deadline = clock_.now() + 8s;
        const auto undecided = [&] {
            for (const BootstrapAddress& one : bootstrap.addresses())
                if (one.state == BootstrapAddress::State::dialling) return true;
            return false;
        };
        while (undecided() && clock_.now() < deadline) {
            awaitable<void> changing = bootstrap.until_change();
            co_await shoal::detail::ends_in_time(clock_, deadline, std::move(changing));
        }
    }

    void say_address(const BootstrapAddress& address) {
        using State = BootstrapAddress::State;
        const std::string where = address.endpoint.to_string();
        if (address.state == State::connected)
            say(fine, "bootstrap", fmt::format("{} answers: peer {}", where, address.peer.short_name()));
        else if (address.state == State::ourselves)
            say(note, "bootstrap", where + " is this very peer");
        else
            say(wrong, "bootstrap", address.cause.empty() ? where + ": no answer within 8 s" : address.cause,
                "is a peer running there, is its port open in the firewalls between (TCP and UDP), is the "
                "name right?");
    }

    awaitable<void> ask(PeerId peer) {
        const std::string name = peer.short_name();
        const TimePoint deadline = clock_.now() + 20s;
        try {
            const PeerAbout about = co_await ask_about(*network_, clock_, peer, deadline);
            if (about.version != kVersion)
                say(note, "version",
                    fmt::format("peer {} runs Shoal {}, this is {}", name, about.version, kVersion));
            findings_.push_back(judge_clock(name, about.clock_difference, about.clock_uncertainty));
            say(fine, "address", fmt::format("peer {} sees this machine at {}", name, about.seen_address));
            co_await check_reachability(peer, deadline);
            const Bandwidth bandwidth = co_await measure_bandwidth(*network_, clock_, peer, 1s, deadline);
            say_bandwidth(name, bandwidth);
        } catch (const Error& error) {
            say(note, "peer " + name, std::string("could not be asked everything: ") + error.what());
        }
    }

    void say_bandwidth(const std::string& peer, const Bandwidth& bandwidth) {
        const double up = bandwidth.up * 8 / 1e6, down = bandwidth.down * 8 / 1e6;
        const std::string text =
            fmt::format("{:.1f} Mbit/s up, {:.1f} Mbit/s down, to peer {}", up, down, peer);
        if (std::min(up, down) < 5)
            say(note, "bandwidth", text,
                "slow: averaging may take longer than computing; see [averaging] codec");
        else
            say(fine, "bandwidth", text);
    }

    awaitable<void> check_reachability(PeerId peer, TimePoint deadline) {
        const std::uint16_t port = net::listen_port(*network_);
        if (port == 0) co_return;
        Bytes token(16);
        Random random = Random::from_entropy();
        for (std::uint8_t& byte : token) byte = static_cast<std::uint8_t>(random.next());
        const std::uint16_t udp_port = udp_.is_open() ? port : std::uint16_t{0};
        const DialBackResult result =
            co_await ask_to_dial_back(*network_, clock_, peer, port, udp_port, token, deadline);
        const std::string here = fmt::format("{}:{}", result.host, port);
        if (result.tcp_reached)
            say(fine, "reachability", fmt::format("peer {} reaches {} by TCP", peer.short_name(), here));
        else
            say(wrong, "reachability",
                fmt::format("peer {} does not reach {} by TCP: {}", peer.short_name(), here,
                            result.tcp_cause),
                "open or forward the port in the firewall or router, or use --client");
        if (udp_port == 0) co_return;
        if (co_await token_arrives(token))
            say(fine, "reachability", fmt::format("peer {} reaches {} by UDP", peer.short_name(), here));
        else
            say(note, "reachability",
                fmt::format("peer {} does not reach {} by UDP", peer.short_name(), here),
                "the directory goes through other peers then; open the UDP port to do without them");
    }

    awaitable<bool> token_arrives(Bytes token) {
        awaitable<void> waiting = receive(std::move(token));
        co_return co_await shoal::detail::ends_in_time(clock_, clock_.now() + 2s, std::move(waiting));
    }

    awaitable<void> receive(Bytes token) {
        Bytes buffer(64);
        for (;;) {
            asio::ip::udp::endpoint from;
            const std::size_t size =
                co_await udp_.async_receive_from(asio::buffer(buffer), from, asio::use_awaitable);
            if (size == token.size() && std::equal(token.begin(), token.end(), buffer.begin())) co_return;
        }
    }

    /// As a peer would use it: over UDP, and where nobody answers through a peer that is connected.
    awaitable<void> try_directory() {
        const std::string& way = definition_.network.directory;
        std::string cause;
        if (way != "through-peers") {
            cause = co_await try_directory_over_udp();
            if (cause.empty()) co_return;
        }
        const std::string why = cause.empty() ? "UDP is not used, as [network] directory says"
                                              : "nobody answers over UDP (" + cause + ")";
        if (way == "udp") {
            say(wrong, "directory", why,
                "let UDP through, or set [network] directory = \"auto\": then it goes through other peers");
            co_return;
        }
        const auto remote = dht::make_remote_directory(
            network_, clock_, std::make_shared<KeyPair>(KeyPair::generate()), false, log_);
        const TimePoint deadline = clock_.now() + 3s;
        while (!remote->server() && clock_.now() < deadline) co_await clock_.sleep_for(50ms);
        if (remote->server())
            say(cause.empty() ? fine : note, "directory",
                fmt::format("{}; it goes through peer {}", why, remote->server()->short_name()),
                "works as it is; with UDP it would be faster and need no other peer");
        else
            say(wrong, "directory", why + "; and no connected peer lends its own",
                "let UDP through, or connect to a peer of this version that has UDP");
        remote->shut_down();
    }

    /// Returns why it does not work; empty if it does.
    awaitable<std::string> try_directory_over_udp() {
        std::error_code ignored;
        udp_.close(ignored);
        dht::OpenDhtSettings settings;
        settings.listen_host = definition_.network.listen_host;
        settings.port = net::listen_port(*network_);
        for (const std::string& text : definition_.network.bootstrap)
            settings.bootstrap.push_back(net::Endpoint::parse(text));
        const auto signer = std::make_shared<KeyPair>(KeyPair::generate());
        std::shared_ptr<dht::OpenDhtDirectory> directory;
        try {
            directory = dht::make_opendht_directory(io_.get_executor(), clock_, signer, settings, log_);
        } catch (const Error& error) {
            co_return error.what();
        }
        const TimePoint deadline = clock_.now() + 4s;
        while (directory->neighbours() == 0 && clock_.now() < deadline) co_await clock_.sleep_for(20ms);
        const dht::DirectoryStatus status = directory->status();
        directory->shut_down();
        if (status.nodes > 0) {
            say(fine, "directory",
                fmt::format("{} other{} answer{} over UDP", status.nodes, status.nodes == 1 ? "" : "s",
                            status.nodes == 1 ? "s" : ""));
            co_return "";
        }
        for (const dht::BootstrapStatus& one : status.bootstrap)
            if (!one.reason.empty()) co_return one.reason;
        co_return "no answer within 4 s";
    }

    const RunDefinition& definition_;
    Log log_;
    RealClock clock_;
    asio::io_context io_{1};
    asio::ip::udp::socket udp_{io_};
    std::shared_ptr<net::Network> network_;
    std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> try_network(const RunDefinition& definition, Log log) {
    return Examination(definition, std::move(log)).run();
}

std::string to_text(const std::vector<Finding>& findings) {
    std::string text;
    std::size_t wrong_ones = 0;
    for (const Finding& one : findings) {
        text += fmt::format("{:<5}  {:<13} {}\n", to_string(one.level), one.subject, one.text);
        if (one.level != fine && !one.advice.empty()) text += fmt::format("{:<20} -> {}\n", "", one.advice);
        wrong_ones += one.level == wrong ? 1 : 0;
    }
    text += wrong_ones == 0
                ? "Nothing is wrong.\n"
                : fmt::format("{} thing{} wrong.\n", wrong_ones, wrong_ones == 1 ? " is" : "s are");
    return text;
}

std::string to_json(const std::vector<Finding>& findings) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Finding& one : findings) {
        nlohmann::ordered_json entry;
        entry["level"] = std::string(to_string(one.level));
        entry["subject"] = one.subject;
        entry["text"] = one.text;
        entry["advice"] = one.advice;
        list.push_back(std::move(entry));
    }
    nlohmann::ordered_json whole;
    whole["wrong"] = something_is_wrong(findings);
    whole["findings"] = std::move(list);
    return whole.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace shoal::run
