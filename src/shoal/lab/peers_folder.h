// Where the peers of an experiment write.
#pragma once

#include <filesystem>

namespace shoal::lab {

/// Makes `folder` and an empty folder "peers" in it. What "peers" holds already is deleted only if it bears
/// the mark that this function leaves there; a folder of anybody else's is left as it is.
/// Throws Error(bad_input) then, and if the folder cannot be made.
void make_peers_folder(const std::filesystem::path& folder);

}  // namespace shoal::lab
