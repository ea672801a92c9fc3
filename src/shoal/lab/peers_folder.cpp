#include "shoal/lab/peers_folder.h"

#include <fstream>

#include "shoal/base/error.h"

namespace shoal::lab {

namespace {

constexpr const char* kMark = "made-by-shoal-lab";

}  // namespace

void make_peers_folder(const std::filesystem::path& folder) {
    const auto peers = folder / "peers";
    std::error_code error;
    const bool ours = std::filesystem::exists(peers / kMark, error);
    const bool holds_something =
        std::filesystem::exists(peers, error) && !std::filesystem::is_empty(peers, error);
    if (holds_something && !ours)
        throw Error(ErrorKind::bad_input,
                    peers.string() +
                        " was not made by shoal lab, so nothing in it is deleted: give another "
                        "--folder, or remove it yourself");
    if (ours) std::filesystem::remove_all(peers, error);
    if (!error) std::filesystem::create_directories(peers, error);
    if (error || !(std::ofstream(peers / kMark) << "shoal lab empties this folder when it begins anew\n"))
        throw Error(ErrorKind::bad_input, "cannot write " + peers.string() + ": " +
                                              (error ? error.message() : "no file can be made there"));
}

}  // namespace shoal::lab
