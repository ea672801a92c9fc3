// shoal key: the identity of a peer.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>

#include "shoal/base/error.h"
#include "shoal/base/identity.h"
#include "shoal/command.h"

namespace shoal::app {
namespace {

int show_or_make(const std::string& file, bool make) {
    if (make && std::filesystem::exists(file))
        throw Error(ErrorKind::bad_input, file + " exists already; nothing was overwritten");
    if (!make && !std::filesystem::exists(file))
        throw Error(ErrorKind::bad_input, "there is no key file " + file + " (--new makes one)");
    const KeyPair key = make ? KeyPair::load_or_create(file) : KeyPair::load(file);
    std::printf("%s\n", key.peer_id().hex().c_str());
    return 0;
}

}  // namespace

Command key_command() {
    Command command;
    command.name = "key";
    command.summary = "Show or make a peer's key";
    command.declare = [](CLI::App& app) -> std::function<int()> {
        app.description(
            "Prints the PeerId that belongs to a key file: the SHA-256 of its public key, by which others "
            "know\n"
            "the peer. A peer makes its key at its first start (key.pem in its folder, mode 0600), so you "
            "need\n"
            "this only to prepare or to look at one. Whoever has the file is that peer: keep it.");
        auto file = std::make_shared<std::string>();
        auto make = std::make_shared<bool>(false);
        app.add_option("FILE", *file, "The key file (PEM, Ed25519)")->required();
        app.add_flag("--new", *make, "Make a new key and write it there; never overwrites a file");
        return [file, make] { return show_or_make(*file, *make); };
    };
    return command;
}

}  // namespace shoal::app
