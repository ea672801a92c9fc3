#include "shoal/lab/peer_process.h"

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>

#include "shoal/base/clock.h"
#include "shoal/base/error.h"

namespace shoal::lab {

PeerProcess start_peer(const PeerStart& start) {
    std::filesystem::create_directories(start.folder);
    std::vector<std::string> command = start.command;
    if (!command.empty())
        command.push_back(start.run_file.string());
    else if (start.role == "auxiliary")
        command = {(own_program().parent_path() / "shoal").string(), "seed", start.run_file.string(),
                   "--auxiliary"};
    else
        command = {own_program().string(), "train", start.run_file.string()};
    std::vector<std::string> settings = {"peer.name=" + start.name, "peer.folder=" + start.folder.string()};
    if (start.role == "client") settings.push_back("network.client_mode=true");
    settings.insert(settings.end(), start.settings.begin(), start.settings.end());
    for (const auto& setting : settings) command.insert(command.end(), {"--set", setting});
    command.insert(command.end(), start.arguments.begin(), start.arguments.end());

    const auto metrics = start.folder / "metrics.jsonl";
    std::error_code none;
    const auto before = std::filesystem::file_size(metrics, none);

    PeerProcess peer;
    peer.name = start.name;
    peer.role = start.role;
    peer.folder = start.folder;
    peer.process = std::make_unique<ChildProcess>(command, start.folder / "output.txt");
    peer.log = std::make_unique<PeerLog>(metrics, none ? 0 : static_cast<std::streamoff>(before));
    peer.spawned = wall_seconds();
    return peer;
}

std::uint16_t free_port() {
    asio::io_context context;
    for (int attempt = 0; attempt < 100; ++attempt) {
        asio::ip::tcp::acceptor acceptor(context, {asio::ip::make_address("127.0.0.1"), 0});
        asio::ip::udp::socket socket(context);
        asio::error_code taken;
        socket.open(asio::ip::udp::v4(), taken);
        socket.bind({asio::ip::make_address("127.0.0.1"), acceptor.local_endpoint().port()}, taken);
        if (!taken) return acceptor.local_endpoint().port();
    }
    throw Error(ErrorKind::system, "found no port that is free for TCP and UDP");
}

double wall_seconds() {
    return static_cast<double>(RealClock().wall_now().time_since_epoch().count()) / 1000;
}

}  // namespace shoal::lab
