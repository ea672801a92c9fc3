// The sub-commands of `shoal lab` about variational inequalities.
#pragma once

#include <functional>
#include <memory>

namespace CLI {
class App;
}

namespace shoal::app {

/// Declares `bilinear`, `saddle` and the process that both start; the one that is named sets what runs.
void declare_saddle_points(CLI::App& lab, const std::shared_ptr<std::function<int()>>& chosen);

}  // namespace shoal::app
